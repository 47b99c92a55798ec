"""Config-driven training, evaluation, prediction and export, based on Detectron2's trainer."""
