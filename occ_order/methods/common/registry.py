"""Registry of dataset mappers, filled by the modules that define them."""

from __future__ import annotations

from fvcore.common.registry import Registry

MAPPER_REGISTRY = Registry("MAPPER")
MAPPER_REGISTRY.__doc__ = "Dataset mappers, each `@configurable` with `from_config(cfg, is_train)`."
