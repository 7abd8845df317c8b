"""What `make run` prints last: what one needs to use the hub that has just started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RUN_UNISOLATED = "TASKHUB_RUN_UNISOLATED"
NOT_ISOLATED = (
    "Scripts do not run here: bubblewrap does not work in this container, so nothing would keep them from the hub's "
    f"data. Set {RUN_UNISOLATED}=1 to run them all the same, or DAYTONA_API_KEY to run them in Daytona."
)


@dataclass(frozen=True)
class Announcement:
    """`link`: the path of a sign-in link. `sandboxes`: where scripts run."""

    port: int
    link: str
    data_dir: Path
    sandboxes: str
    in_container: bool

    def text(self) -> str:
        address = f"http://localhost:{self.port}"
        lines = [
            "",
            f"TaskHub is ready at {address}",
            f"  sign in       {address}{self.link}",
            f"                (works once, within 10 minutes; {self._another_link()} makes another)",
            f"  live events   {address}/test_sse.html{self._streaming(address)}",
            f"  API           {address}/api/docs/",
            f"  admin         {address}/admin/ (account: operator)",
            f"  API token     {self.data_dir / 'token'}",
            f"  data          {self.data_dir}",
            f"  sandboxes     {self.sandboxes}",
            *self._notes(),
            f"{self._stop()} ends everything.",
            "",
        ]
        return "\n".join(lines)

    def _another_link(self) -> str:
        return "`docker compose exec taskhub python -m config.launcher link`" if self.in_container else "`make link`"

    def _streaming(self, address: str) -> str:
        return "" if self.in_container else f", or: curl -N {address}/api/events/stream"

    def _notes(self) -> list[str]:
        if not self.in_container:
            return []
        return [
            "  in a container: reading needs a sign-in or a token, too; all clients count as one address in limits",
            f"  the token:    docker compose exec taskhub cat {self.data_dir / 'token'}",
        ]

    def _stop(self) -> str:
        return "`docker compose down`" if self.in_container else "Ctrl-C, or `make stop` in another terminal,"
