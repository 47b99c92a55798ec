"""Layout and event handlers of the Gradio page.

Needs Gradio: pip install "occ_order[app]".
"""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from occ_order import model_zoo
from occ_order.apps.drop.answer import Settings, answer, detectors, models
from occ_order.apps.drop.work import (
    Work,
    clicked,
    closed,
    open_photo,
    shown,
    taken_back,
    with_masks,
)

if TYPE_CHECKING:
    import gradio as gr

TITLE = "Who occludes whom?"

DEFAULT = "the default"
"""Menu entry for the default models of `occ_order.predict`."""

CSS = """
.fault, .note { border-left: 4px solid; padding: .4em .8em; margin: .3em 0; line-height: 1.4;
  overflow-wrap: anywhere; color: var(--body-text-color); }
.fault { border-color: #c62828; background: color-mix(in srgb, #c62828 12%, transparent); }
.note { border-color: #5f7d95; background: color-mix(in srgb, #5f7d95 10%, transparent); }
#panels .thumbnail-lg > img { height: calc(100% - 2.2em); }
#panels .caption-label { left: 0; right: 0; bottom: 0; max-width: 100%; text-align: center; }
#downloads .label-clear-button { display: none; }
@media (max-width: 640px) { #panels .grid-container { grid-template-columns: 1fr; } }
"""
"""Styles of messages; captions below the panels, not over them; one column on narrow screens."""

_INTRODUCTION = (
    f"# {TITLE}\nDrop a photograph, and its masks if you have any: a file of a labelling tool, a "
    "label map, or a PNG for each instance. Nothing leaves this machine; what you drop is removed "
    "when the program ends."
)
_OUTLINES = (
    "To outline a thing, click its corners in the photograph, and the first one again to close. "
    "Without masks and outlines a detector finds the instances."
)
_FILES = (
    "`order_results.json`: instances and orders. `layers.psd`: a layer for each instance. "
    "The ZIP file: these, panels, layers and masks of whole objects as PNG, graphs."
)

_WRONG = (ValueError, OSError, ImportError)
"""Errors of the input or the installation, shown on the page."""


def build(folder: Path, settings: Settings) -> gr.Blocks:
    """Build the Gradio page.

    Args:
        folder: folder of uploads and results.
        settings: settings of the page.
    """
    import gradio as gr

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(_INTRODUCTION)
        work = gr.State(None)
        with gr.Row():
            with gr.Column(min_width=300):
                photo = gr.File(label="Photograph", height=130, elem_id="photo")
                masks = gr.File(label="Masks", file_count="multiple", height=130, elem_id="masks")
                chosen = _choices(settings)
                run = gr.Button("Tell the order", variant="primary", elem_id="run")
                said = gr.HTML(elem_id="said")
            with gr.Column(min_width=300, scale=2):
                gr.Markdown(_OUTLINES)
                view = gr.Image(
                    label="Photograph and masks",
                    show_label=False,
                    interactive=False,
                    buttons=["fullscreen"],
                    format="png",
                    elem_id="view",
                )
                with gr.Row():
                    close = gr.Button("Close outline", size="sm", min_width=120, elem_id="close")
                    back = gr.Button("Take back", size="sm", min_width=120, elem_id="back")
        with gr.Column(visible=False, elem_id="results") as results:
            panels = gr.Gallery(
                label="Order",
                columns=3,
                height="auto",
                object_fit="contain",
                buttons=["download", "fullscreen"],
                interactive=False,
                elem_id="panels",
            )
            with gr.Row():
                sentences = gr.Textbox(
                    label="In sentences", lines=8, max_lines=24, min_width=300, elem_id="sentences"
                )
                with gr.Column(min_width=300):
                    downloads = gr.File(
                        label="Downloads",
                        file_count="multiple",
                        interactive=False,
                        elem_id="downloads",
                    )
                    gr.Markdown(_FILES)

        # Handlers run one at a time: each updates the state that the previous one left.
        turn: dict[str, Any] = {"concurrency_id": "work", "concurrency_limit": 1}
        hidden = {**turn, "show_progress": "hidden"}
        for changed in (photo.change, masks.change):
            changed(opened, [photo, masks], [work, view, said, results], **hidden)

        def select(now: Work | None, event: gr.SelectData) -> tuple[Any, ...]:
            return outlined(partial(clicked, x=event.index[0], y=event.index[1]), now)

        # Gradio passes the event to the parameter with this annotation.
        select.__annotations__["event"] = gr.SelectData
        for happens, change in (
            (view.select, select),
            (close.click, partial(outlined, closed)),
            (back.click, partial(outlined, taken_back)),
        ):
            happens(change, [work], [work, view, said], **hidden)
        run.click(
            partial(told, folder, settings),
            [work, photo, masks, *chosen],
            [said, results, panels, sentences, downloads],
            **turn,
        )
    return page


def _choices(settings: Settings) -> list[Any]:
    """Return the inputs for model, detector and cycle removal."""
    import gradio as gr

    finders = detectors(settings)
    with gr.Accordion("Models", open=False):
        return [
            gr.Dropdown(
                [DEFAULT, *models(settings.backend)],
                value=DEFAULT,
                label="Tells the order",
                info=f"{DEFAULT}: {model_zoo.introduce(model_zoo.ORDERS_MASKS)}",
            ),
            gr.Dropdown(
                finders,
                value=finders[0] if finders else None,
                label="Finds instances where there are no masks",
            ),
            gr.Checkbox(label="Leave the least probable occlusions out of cycles"),
        ]


# --- event handlers -----------------------------------------------------------------------


def opened(photo: str | None, masks: Sequence[str] | None) -> tuple[Any, ...]:
    """Handle a change of the uploaded files; return work, view, message and results.

    Args:
        photo: path of the photograph, or None.
        masks: paths of the mask files, or None.
    """
    import gradio as gr

    hidden = gr.update(visible=False)
    if photo is None:
        hint = _note("Now the photograph that these masks belong to.") if masks else ""
        return None, None, hint, hidden
    work = None
    try:
        work = open_photo(Path(photo))
        work = with_masks(work, [Path(file) for file in masks or ()])
    except _WRONG as error:
        return work, None if work is None else shown(work), _fault(error), hidden
    return work, shown(work), "".join(map(_note, work.notes)), hidden


def outlined(change: Callable[[Work], Work], work: Work | None) -> tuple[Any, ...]:
    """Handle a click on the photograph or a button below it; return work, view and message.

    Args:
        change: function that applies the click.
        work: None if there is no photograph yet.
    """
    import gradio as gr

    try:
        if work is None:
            raise ValueError("there is no photograph yet: drop one")
        work = change(work)
    except ValueError as error:
        return work, gr.skip(), _fault(error)
    return work, shown(work), ""


def told(
    folder: Path,
    settings: Settings,
    work: Work | None,
    photo: str | None,
    masks: Sequence[str] | None,
    model: str,
    detector: str | None,
    acyclic: bool,
) -> tuple[Any, ...]:
    """Predict the order; return message, results, panels, sentences and downloads.

    Args:
        folder: folder in which a new one is created for the results.
        settings: settings of the page.
        work: photograph, masks and outlines.
        photo, masks: paths of the uploads; read again, so that invalid masks raise an error here,
            too, and are not silently left out.
        model, detector, acyclic: values of the inputs.
    """
    import gradio as gr

    try:
        if photo is None:
            raise ValueError("there is no photograph yet: drop one")
        work = open_photo(Path(photo)) if work is None else work
        work = with_masks(work, [Path(file) for file in masks or ()])
        found = answer(
            work,
            Path(tempfile.mkdtemp(dir=folder)),
            settings,
            model=None if model == DEFAULT else model,
            detector=detector,
            acyclic=acyclic,
        )
    except _WRONG as error:
        return _fault(error), gr.update(visible=False), None, "", None
    said = "".join(map(_note, (*work.notes, found.about)))
    panels = [(str(file), heading) for file, heading in found.panels]
    return said, gr.update(visible=True), panels, found.sentences, list(map(str, found.files))


def _note(text: str) -> str:
    """Return a notice as HTML."""
    return f'<div class="note" role="status">{html.escape(text)}</div>'


def _fault(error: Exception) -> str:
    """Return an error message as HTML."""
    text = str(error) or type(error).__name__
    return f'<div class="fault" role="alert">{html.escape(text)}</div>'
