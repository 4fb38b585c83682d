"""Writing the rows that `generate` and `sample` draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmmcli.data import Sink
    from gmmcli.data.writers import Encoded
    from gmmcli.model.mixture import GaussianMixture
    from gmmcli.model.synthetic import DrawnBlock


def write_rows(
    model: GaussianMixture, names: Sequence[str], samples: int, seed: int, label: str | None, dtype: str, sink: Sink
) -> None:
    """Draws rows and writes them as they come, blocks side by side and in order.

    label: the name of the column of true components, None for none. dtype: of the other columns, float64 or float32.
    """
    import torch

    from gmmcli.data import check_free, table_of
    from gmmcli.model.synthetic import draw, drawn_blocks
    from gmmcli.passes.workers import default_threads, map_blocks, single_intra_op_thread

    check_free([label] if label else [], names)
    header = [*names, label] if label else list(names)
    precision = {"float64": torch.float64, "float32": torch.float32}[dtype]

    def drawn(block: DrawnBlock) -> Encoded:
        _, x, components = draw(model, seed, block)
        return sink.encode(table_of(header, [*x.to(precision).unbind(1), *([components] if label else [])]))

    with sink, single_intra_op_thread():
        for piece in map_blocks(drawn, drawn_blocks(model.dims, samples), default_threads()):
            sink.write(piece)
