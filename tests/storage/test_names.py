import pytest

from gmmcli.storage.names import beside, inside, is_address, masked, name_of, one_line, printable, suffix_of


@pytest.mark.parametrize(
    "name", ["s3://bucket/a.csv", "file:///a", "memory://a", "simplecache::https://h/a", "zip://a::s3://b/c.zip"]
)
def test_addresses(name: str):
    assert is_address(name)


@pytest.mark.parametrize(
    "name", ["a.csv", "-", "s3:/a", "c:/a", "C://a", "a b://c", "./s3://a", "://a", "1s://a", ""]
)
def test_names_of_local_files(name: str):
    assert not is_address(name)
    assert name_of(name) == masked(name) == name


@pytest.mark.parametrize(
    ("address", "name", "suffix"),
    [
        ("s3://b/m.pt?region=eu&scheme=http", "s3://b/m.pt", ".pt"),
        ("s3://b/part-?.CSV", "s3://b/part-?.CSV", ".csv"),  # a pattern, not an option
        ("s3://b/part-?.csv?region=eu", "s3://b/part-?.csv", ".csv"),
        ("https://h/a.csv?download", "https://h/a.csv", ".csv"),
        ("s3://b/folder/", "s3://b/folder/", ""),
        ("s3://b/a::b.csv", "s3://b/a::b.csv", ".csv"),
        ("zip://in/a.csv::s3://b/a.zip?region=eu", "zip://in/a.csv", ".csv"),
        ("simplecache::https://h/a.csv?download", "simplecache::https://h/a.csv", ".csv"),
    ],
)
def test_options_are_not_part_of_the_name(address: str, name: str, suffix: str):
    assert name_of(address) == name
    assert suffix_of(address) == suffix


def test_names_made_of_an_address_keep_its_options():
    assert beside("s3://b/m.pt?region=eu", ".cells") == "s3://b/m.pt.cells?region=eu"
    assert inside("s3://b/cells?region=eu", "full-3.pt") == "s3://b/cells/full-3.pt?region=eu"
    assert beside("m.pt?region=eu", ".cells") == "m.pt?region=eu.cells"  # a file may be called so
    assert inside("cells", "full-3.pt") == "cells/full-3.pt"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:SECRET@bucket/a.csv", "s3://***@bucket/a.csv"),
        ("s3://KEY:SEC/RET@bucket/a@b.csv", "s3://***@b.csv"),  # not escaped as it should be: hidden all the same
        ("s3://KEY:SEC:RET/X@bucket/a.csv", "s3://***@bucket/a.csv"),
        ("https://user:SECRET@host:8080/a", "https://***@host:8080/a"),
        ("https://SECRET@host/a", "https://***@host/a"),
        ("https://user:SE?C#RET@host/a", "https://***@host/a"),
        ("abfs://container:SECRET@account/a", "abfs://***@account/a"),
        ("zip://a.csv::s3://KEY:SECRET@bucket/a.zip", "zip://a.csv::s3://***@bucket/a.zip"),
        ("see 's3://KEY:SECRET@bucket' and 's3://K:SECRET@other'", "see 's3://***@bucket' and 's3://***@other'"),
        ("https://h/a?X-Amz-Signature=SECRET&sig=SECRET", "https://h/a?X-Amz-Signature=***&sig=***"),
        ("s3://b/a?region=eu&scheme=http&session_token=SECRET", "s3://b/a?region=eu&scheme=http&session_token=***"),
    ],
)
def test_credentials_are_hidden(text: str, shown: str):
    assert masked(text) == shown
    assert "SECRET" not in one_line(text) + printable(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a@b.csv",
        "s3://bucket/a:b@c.csv",
        "hdfs://host:8020/a@b",
        "hdfs://user@host:8020/a",
        "abfs://container@account.dfs.core.windows.net/a",
        "s3://b/a?endpoint_override=localhost:9000&scheme=http",
        "a@b:c",
    ],
)
def test_what_is_no_credential_is_shown(text: str):
    assert masked(text) == text
