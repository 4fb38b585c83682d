"""What `gmm fit` is to do, read off its options: `read_settings`, and `Targets`, where it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gmmcli.cli.fit_options import Fitting, read_start
from gmmcli.cli.grid_options import Choosing
from gmmcli.cli.inputs import check_model_option
from gmmcli.cli.run_options import Running
from gmmcli.cli.targets import apart, check_table, not_over
from gmmcli.storage.files import check_writable

if TYPE_CHECKING:
    from gmmcli.choosing.options import GridOptions
    from gmmcli.data import ReadOptions
    from gmmcli.fitting.given_start import Start
    from gmmcli.fitting.options import FitOptions


@dataclass(frozen=True)
class Settings:
    """The fit that is asked for. options: of a single fit, or what all cells share; grid: None for a single fit.

    start: what --init names when it is a file, None for a random start.
    """

    options: FitOptions
    grid: GridOptions | None
    start: Start | None

    @property
    def fits(self) -> int:
        """How many fits are made, the bootstrap's aside."""
        return 1 if self.grid is None else len(self.grid.order())


def read_settings(fitting: Fitting, choosing: Choosing, running: Running, reading: ReadOptions) -> Settings:
    """The settings, checked. Raises UsageError for what does not go together."""
    grid = choosing.grid(fitting)
    start = read_start(fitting.init, reading)
    options = fitting.options(start) if grid is None else choosing.base(grid, fitting)
    running.check(grid is not None)
    return Settings(options, grid, start)


@dataclass(frozen=True)
class Targets:
    """Where a fit is written: the model; a table of the fits, a picture, and its state on the way, None for none."""

    model: str
    table: str | None
    picture: str | None
    checkpoint: str | None

    @property
    def _by_option(self) -> dict[str, str | None]:
        return {
            "--output": self.model,
            "--table": self.table,
            "--visualize": self.picture,
            "--checkpoint": self.checkpoint,
        }

    def check(self) -> None:
        """Raises UsageError where a file cannot be written, but for a picture, and where two are the same."""
        check_model_option("--output", self.model, "model.pt")
        check_table("--table", self.table)
        if self.checkpoint is not None:
            check_writable(self.checkpoint, "fit.ckpt")
        apart(self._by_option)

    def check_inputs(self, data: Sequence[str], init: str, start: Start | None) -> None:
        """Raises UsageError where a file that is read would be written over; a model may go on from itself."""
        not_over(self._by_option, "data", data)
        if start is not None:
            replaced = {"--output"} if start.model is not None else set()
            others = {option: target for option, target in self._by_option.items() if option not in replaced}
            not_over(others, "--init", [init])
