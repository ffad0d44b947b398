import models
from models import layers
from tests.models.support import COLUMNS, PAGE, Support, heading, rows_of
from tests.models.test_layer_conformance import BASES, LAYERS
from tests.models.test_network_conformance import NETWORKS


def support_of(outcomes):
    """A table of one row, whose cells are all `yes` but for these outcomes."""
    found = Support()
    for column in COLUMNS:
        for outcome in outcomes.get(column, [(True, None)]):
            found.record("Layers", "Conv1D, wide", column, *outcome)
    return found


def test_the_page_has_a_row_for_every_form_and_no_other():
    assert rows_of(PAGE.read_text(encoding="utf-8")) == {
        heading("Layers", LAYERS): list(LAYERS),
        heading("Networks", NETWORKS): list(NETWORKS),
    }


def test_its_headings_count_what_is_public():
    public = {name for name, value in vars(layers).items() if isinstance(value, type)} - BASES
    assert heading("Layers", LAYERS).startswith(f"## Layers: {len(public)} in")
    assert heading("Networks", NETWORKS).startswith(f"## Networks: {len(models.ARCHITECTURES)} in")


def test_a_cell_that_failed_in_one_variant_fails():
    found = support_of({"train": [(True, None), (False, None), (True, None)]})
    assert list(found.lines("Layers", "Conv1D, wide"))[0].split("|")[2:4] == [" fails ", " yes "]


def test_a_refusal_stands_as_no_with_its_reason_below():
    found = support_of({"TFLite int8": [(True, "it has no integers")]})
    assert "| Conv1D, wide | yes | yes | yes | yes | no | yes | yes |" in found.page()
    assert "- Conv1D, wide, TFLite int8: it has no integers" in found.page()


def test_lines_that_the_page_lacks_or_should_not_hold_are_stale(tmp_path, monkeypatch):
    page = tmp_path / "support.md"
    monkeypatch.setattr("tests.models.support.PAGE", page)
    old = support_of({"JAX": [(True, "nobody tried")]})
    page.write_text(old.page())
    assert not set(old.stale())
    new = support_of({})
    assert set(new.stale()) == {
        *old.lines("Layers", "Conv1D, wide"),
        *new.lines("Layers", "Conv1D, wide"),
    }
