"""Writing the rows that `generate` and `sample` draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmmcli.data import Sink
    from gmmcli.mixture import GaussianMixture


def write_rows(
    model: GaussianMixture, names: Sequence[str], samples: int, seed: int, label: str | None, sink: Sink
) -> None:
    """Draws rows and writes them as they come. label: the name of the column of true components, None for none."""
    from gmmcli.data import check_free, table_of
    from gmmcli.synthetic import generate

    check_free([label] if label else [], names)
    header = [*names, label] if label else list(names)
    with sink:
        for _, x, components in generate(model, samples, seed):
            sink.write(table_of(header, [*x.unbind(1), *([components] if label else [])]))
