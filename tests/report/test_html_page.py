"""The page that every report stands in."""

import pytest
from support.page_check import Checked

from tflite_recipes.report.html_page import document, folded, section


def page(count):
    return document("a <page>", ["<h1>head</h1>", *(section(f"part <{n}>", f"<p>text {n}</p>") for n in range(count))])


def test_several_sections_have_a_table_of_contents_that_leads_to_them():
    checked = Checked(page(6))
    assert checked.labels == [f"s{n}" for n in range(1, 7)]
    assert checked.ids == {f"s{n}" for n in range(1, 7)}
    assert checked.headings == [f"part <{n}>" for n in range(6)]
    assert "".join(checked.text).index("head") < "".join(checked.text).index("part <0>")


def test_few_sections_have_none():
    assert Checked(page(2)).labels == []


@pytest.mark.parametrize("empty", ["", section("nothing", ""), folded("nothing", "")])
def test_what_is_empty_leaves_nothing(empty):
    assert empty == ""
    assert Checked(document("title", ["<h1>head</h1>", empty])).headings == []


def test_it_is_white_and_dark_text_whatever_surrounds_it():
    assert "color-scheme: light; background: #fff" in page(1)


def test_text_that_looks_like_a_heading_is_none():
    text = document("t", ["<h1>x</h1>", section("one", "<pre>&lt;h2&gt;two&lt;/h2&gt;</pre>")])
    assert Checked(text).headings == ["one"]
