"""Pages as tests read them: balanced, self-contained, with their text."""

from html.parser import HTMLParser

VOID = ("meta", "rect", "br", "input")
FORBIDDEN = ("script", "link", "img", "iframe", "object", "embed", "form", "base", "video", "audio", "source")


class Checked(HTMLParser):
    """Collects text and refuses what is not closed in order, and what would load or run something. A label leads to
    a place of the same page."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text, self.headings, self.ids, self.labels = [], [], [], set(), []
        self.feed(page)
        assert self.open == []
        assert set(self.labels) <= self.ids

    def handle_starttag(self, tag, attributes):
        assert tag not in FORBIDDEN
        for name, value in attributes:
            assert name != "src"
            assert not name.startswith("on")
            assert "url(" not in (value or "")
            if name == "href":
                assert tag == "a"
                self.link(value)
            if name == "for":
                self.labels.append(value)
            if name == "id":
                assert value not in self.ids
                self.ids.add(value)
        if tag not in VOID:
            self.open.append(tag)

    def link(self, where):
        raise AssertionError(f"a link to {where}")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        assert "@import" not in data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if "style" not in self.open:
            self.text.append(data)


def text_of(page):
    return " ".join(Checked(page).text)
