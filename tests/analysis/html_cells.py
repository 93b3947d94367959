"""The cells of a table's page, as a reader sees them."""

from __future__ import annotations

from html.parser import HTMLParser


class Cells(HTMLParser):
    """The rows of a page's table, each a list of its cells' text, headings included, and styles by
    row and column.
    """

    def __init__(self, page: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.styles: dict[tuple[int, int], str] = {}
        self.scopes: list[str | None] = []
        self.place = (-1, -1)
        self.body = False
        self.inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.body = self.body or tag == "tbody"
        if tag == "tr":
            self.rows.append([])
            self.place = (self.place[0] + self.body, -1)
        self.inside = self.inside or tag in ("td", "th")
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "th":
            self.scopes.append(dict(attributes).get("scope"))
        if tag == "td":
            self.place = (self.place[0], self.place[1] + 1)
            if style := dict(attributes).get("style"):
                self.styles[self.place] = style

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data
