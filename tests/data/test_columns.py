import pytest

from gmmcli.data.columns import ColumnFacts, ColumnKind, check_free, match_columns, select_columns
from gmmcli.errors import InputError, UsageError
from gmmcli.storage.names import listing, printable

NUMBER, TEXT = ColumnFacts(ColumnKind.NUMBER), ColumnFacts(ColumnKind.TEXT)
TABLE = {
    "species": TEXT,
    "a": NUMBER,
    "b": NUMBER,
    "flag": ColumnFacts(ColumnKind.BOOLEAN),
    "day": ColumnFacts(ColumnKind.TIME),
    "none": ColumnFacts(ColumnKind.EMPTY),
    "c": NUMBER,
}


def test_default_is_every_number():
    selection = select_columns(TABLE)
    assert selection.used == ("a", "b", "c")
    assert selection.left_out == {"species": "text", "flag": "boolean", "day": "time", "none": "no values"}


@pytest.mark.parametrize(
    "ours",
    ["component", "probability", "probability_0", "probability_12", "log_likelihood", "true_component", "outlier"],
)
def test_our_own_columns_are_left_out_unless_named(ours):
    table = {"a": NUMBER, ours: NUMBER}
    assert select_columns(table).used == ("a",)
    assert "gmm" in select_columns(table).left_out[ours]
    assert select_columns(table, columns=["a", ours]).used == ("a", ours)


@pytest.mark.parametrize("name", ["components", "probability_x", "my_component"])
def test_names_that_only_resemble_ours_are_used(name):
    assert select_columns({name: NUMBER}).used == (name,)


@pytest.mark.parametrize("name", ["", "__index_level_0__"])
def test_row_numbers_are_left_out(name):
    assert select_columns({name: NUMBER, "a": NUMBER}).used == ("a",)


@pytest.mark.parametrize(
    ("columns", "used"),
    [
        ("a,c", ("a", "c")),
        ("c,a", ("c", "a")),
        (["c", "a"], ("c", "a")),
        (["c,a", "b"], ("c", "a", "b")),
        ("2", ("a",)),
        ("2:3", ("a", "b")),
        ("7,2:3", ("c", "a", "b")),
        ("a,a,2", ("a",)),
        ("a, c", ("a", "c")),
    ],
)
def test_columns_by_name_position_and_range(columns, used):
    assert select_columns(TABLE, columns=columns).used == used


def test_exact_names_come_before_positions():
    assert select_columns({"a": NUMBER, "1": NUMBER, "2:3": NUMBER}, columns="1,2:3").used == ("1", "2:3")
    assert select_columns({"x": NUMBER, "p,q": NUMBER}, columns=["p,q"]).used == ("p,q",)


def test_exclude():
    selection = select_columns(TABLE, exclude="a,7")
    assert selection.used == ("b",)
    assert selection.left_out["a"] == "excluded"
    # a range with a text column in it is fine once that is excluded
    assert select_columns(TABLE, columns="1:3", exclude="species").used == ("a", "b")


def test_weights_are_left_out():
    selection = select_columns(TABLE, weights="b")
    assert selection.used == ("a", "c")
    assert selection.left_out["b"] == "the weights"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": "species"}, "species is not numeric: text"),
        ({"columns": "none"}, "none is not numeric: no values"),
        ({"columns": "zz"}, "no column zz: the data have species, a, b"),
        ({"exclude": "zz"}, "no column zz: the data have .*: check exclude"),
        ({"columns": "8"}, "7 columns"),
        ({"columns": "a,b", "weights": "a"}, "column a has the weights"),
        ({"weights": "zz"}, "weights column zz not found"),
        ({"weights": "species"}, "weights column species is not numeric"),
        ({"exclude": "a,b,c"}, "no numeric column left"),
    ],
)
def test_wrong_selections(arguments, message):
    with pytest.raises(InputError, match=message):
        select_columns(TABLE, **arguments)


@pytest.mark.parametrize("columns", ["0", "3:2"])
def test_impossible_positions_are_usage_errors(columns):
    with pytest.raises(UsageError, match="positions count from 1"):
        select_columns(TABLE, columns=columns)


def test_details_explain_a_text_column():
    table = TABLE | {"species": ColumnFacts(ColumnKind.TEXT, "1 cell is not a number, the first 'x' in row 3")}
    assert "'x' in row 3" in select_columns(table).left_out["species"]
    with pytest.raises(InputError, match="'x' in row 3"):
        select_columns(table, columns="species")


def test_match_by_name_whatever_the_order():
    assert match_columns(["b", "a"], ["a", "z", "b"]) == ("b", "a")


def test_missing_columns_are_named():
    with pytest.raises(InputError, match=r"columns p, q not found: the data have a, b"):
        match_columns(["a", "p", "q"], ["a", "b"])


def test_match_by_position_without_a_header():
    assert match_columns(["u", "v"], ["x1", "x2"], by_position=True) == ("x1", "x2")
    assert match_columns(["x2", "x1"], ["x1", "x2", "x3"], by_position=True) == ("x2", "x1")
    with pytest.raises(InputError, match="has 3 columns, the model 2"):
        match_columns(["u", "v"], ["x1", "x2", "x3"], by_position=True)


def test_check_free():
    check_free(["component"], ["a", "b"])
    with pytest.raises(InputError, match=r"column component already in the data: use prefix for another name"):
        check_free(["component", "probability"], ["a", "component"])


def test_names_are_printed_without_control_characters():
    assert printable("a\x1b[31m\nb") == "a\\x1b[31m\\nb"
    assert printable("häufig") == "häufig"
    assert printable("") == "''"
    assert printable(" a") == "' a'"
    cut = printable("/tmp/" + "folder/" * 200 + "data.parquet")
    assert len(cut) == 120
    assert cut.startswith("/tmp/folder")
    assert cut.endswith("/data.parquet")
    with pytest.raises(InputError) as caught:
        match_columns(["\x1b[2J"], ["\x07"])
    assert str(caught.value).isprintable()


def test_long_lists_are_shortened():
    assert listing([f"c{i}" for i in range(30)]).endswith("c19 and 10 more")
