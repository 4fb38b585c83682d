"""Writing the rows that `generate` and `sample` draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from gmmcli.data import Sink
    from gmmcli.data.writers import Encoded
    from gmmcli.mixture import GaussianMixture


def write_rows(
    model: GaussianMixture, names: Sequence[str], samples: int, seed: int, label: str | None, sink: Sink
) -> None:
    """Draws rows and writes them as they come. label: the name of the column of true components, None for none."""
    from gmmcli.data import check_free, table_of
    from gmmcli.fitting.workers import default_threads, map_blocks
    from gmmcli.synthetic import generate
    from gmmcli.threads import single_intra_op_thread

    check_free([label] if label else [], names)
    header = [*names, label] if label else list(names)

    def encoded(block: tuple[int, Tensor, Tensor]) -> Encoded:
        _, x, components = block
        return sink.encode(table_of(header, [*x.unbind(1), *([components] if label else [])]))

    with sink, single_intra_op_thread():
        for piece in map_blocks(encoded, generate(model, samples, seed), default_threads()):
            sink.write(piece)
