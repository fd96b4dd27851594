"""`mignon data FOLDER`: look at the images, decode them once, write the data card and a contact sheet."""

from io import BytesIO
from typing import Any

from mignon.data.cache import open_images
from mignon.data.card import contact_sheet
from mignon.data.look import choose_pixels, look, neutral_spec
from mignon.data.sources import scan
from mignon.files import write_atomic, write_json
from mignon.jobs.requests import Data, verb
from mignon.progress import Screen
from mignon.runs import Run


@verb(Data)
def data(request: Data, screen: Screen) -> dict[str, Any]:
    """The data card of a source; `card.json` and `contact-sheet.png` are in its `run` folder. Raises DataError."""
    listing = scan(request.folder)
    seen = look(listing)
    pixels = choose_pixels(seen, request.image, None)
    images = open_images(listing, neutral_spec(pixels, seen.channels), request.seed, request.on_bad, screen, fit=True)
    with Run.start(request, listing.title, {"data": images.key, "seed": request.seed}, request.out) as run:
        sheet = BytesIO()
        contact_sheet(images).save(sheet, "PNG")
        write_atomic(run.folder / "contact-sheet.png", sheet.getvalue())
        card = {**images.card, "run": str(run.folder), "contact_sheet": str(run.folder / "contact-sheet.png")}
        write_json(run.folder / "card.json", card)
        run.update(status="done", card=images.card)
    return card
