"""`mignon data FOLDER`: look at the images, decode them once, write the data card and a contact sheet."""

from io import BytesIO
from pathlib import Path
from typing import Any

from mignon.data.cache import open_images
from mignon.data.card import contact_sheet
from mignon.data.look import choose_pixels, look, neutral_spec
from mignon.data.sources import scan
from mignon.files import write_atomic, write_json
from mignon.jobs.result import command_line
from mignon.progress import Quiet, Screen
from mignon.runs import Run


def data(
    folder: str,
    *,
    image: int | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    on_bad: str | None = None,
    screen: Screen | None = None,
) -> dict[str, Any]:
    """The data card of a source; `card.json` and `contact-sheet.png` are in its `run` folder. Raises DataError."""
    screen = screen or Quiet()
    listing = scan(folder)
    seen = look(listing)
    pixels = choose_pixels(seen, image, None)
    images = open_images(listing, neutral_spec(pixels, seen.channels), seed, on_bad, screen, fit=True)
    with Run.start("data", listing.title, {"data": images.key, "seed": seed}, out) as run:
        sheet = BytesIO()
        contact_sheet(images).save(sheet, "PNG")
        write_atomic(run.folder / "contact-sheet.png", sheet.getvalue())
        card = {**images.card, "run": str(run.folder), "contact_sheet": str(run.folder / "contact-sheet.png")}
        write_json(run.folder / "card.json", card)
        run.update(
            status="done",
            card=images.card,
            command=command_line("data", folder, image=pixels, seed=seed, on_bad=on_bad),
        )
    return card
