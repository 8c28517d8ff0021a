"""The golden cases: manifests and what they must become, as folders of `tests/golden`.

A case holds `input.yaml` and, for each way of delivery that it is about, what must come out:

- `metards.yaml`: the routes of MetaProtocol Proxy;
- `ads.yaml`: what a stock Envoy sees that sees everything, or the one of `node.yaml`;
- `envoyfilter-<profile>.yaml`: the objects for Istio under a profile;
- `problems.txt`: what is said to be wrong by then; absent when nothing is.

Type → name → resource in proto3 JSON, as `aeraki-xds translate` prints it. To write the files of
changed cases anew: `AERAKI_REGENERATE=1 pytest tests/translate/test_golden.py`. They are a
specification: read the difference line by line before it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from aeraki_xds.ingest.decode import Unidentified, decode
from aeraki_xds.mesh.change import Rejected, Upsert
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline.offline import Offline, translate
from aeraki_xds.pipeline.scopes import (
    GLOBAL_SPEC,
    ScopeSpec,
    everything,
    for_istio,
    spec_of_node,
)
from aeraki_xds.translate.envoyfilter.profile import PROFILES, EnvoyFilters

FOLDER: Final = Path(__file__).resolve().parents[1] / "golden"
PREFIX: Final = "type.googleapis.com/"
METARDS: Final = "metards.yaml"
ADS: Final = "ads.yaml"
PROBLEMS: Final = "problems.txt"

Event = Upsert | Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A folder of manifests and expectations."""

    name: str

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def outputs(self) -> dict[str, ScopeSpec]:
        """The expectations that the case has, and the scope that each is about."""
        specs = {METARDS: GLOBAL_SPEC, ADS: self._ads_spec()} | {
            f"envoyfilter-{profile}.yaml": for_istio(EnvoyFilters.of(profile))
            for profile in PROFILES
        }
        return {file: spec for file, spec in specs.items() if (self.folder / file).exists()}

    def events(self) -> list[Event]:
        return events_of(yaml.safe_load_all(self._read("input.yaml")))

    def expected(self, file: str) -> str:
        return self._read(file) if (self.folder / file).exists() else ""

    def actual(self) -> dict[str, str]:
        """File → what comes out now; a file that would be empty is left out."""
        offline = self.translated()
        files = {
            file: dumped(plain) for file, plain in zip(self.outputs, offline.scopes, strict=True)
        }
        problems = "".join(f"{entry}\n" for entry in offline.entries)
        return files | ({PROBLEMS: problems} if problems else {})

    def translated(self) -> Offline:
        return translate(self.events(), self.outputs.values(), tenancy=Tenancy())

    def _ads_spec(self) -> ScopeSpec:
        node = self.folder / "node.yaml"
        return (
            spec_of_node(yaml.safe_load(self._read(node.name))) if node.exists() else everything()
        )

    def _read(self, file: str) -> str:
        return (self.folder / file).read_text(encoding="utf-8")


def cases() -> Sequence[Case]:
    return [Case(name=path.parent.name) for path in sorted(FOLDER.glob("*/input.yaml"))]


def events_of(documents: Iterable[Mapping[str, object]]) -> list[Event]:
    """What the manifests say; each must be an object that we know."""
    events: list[Event] = []
    for document in documents:
        event = decode(document, origin="input.yaml")
        assert event is not None, document
        assert not isinstance(event, Unidentified), event.problems
        events.append(event)
    return events


def dumped(plain: Mapping[str, Mapping[str, Any]]) -> str:
    """Plain resources as text, one short thing a line and in a fixed order."""
    short = {url.removeprefix(PREFIX): resources for url, resources in plain.items()}
    return yaml.dump(short, Dumper=_Dumper, default_flow_style=None, width=100, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Without anchors, so that each resource reads by itself."""

    def ignore_aliases(self, data: object) -> bool:
        return True
