"""A Kubernetes cluster as the configuration: watched, and written into by one of its replicas.

In: settings. Out: what `configuration` asks for: the source, and the writer with its election, or a
printer in shadow. Who serves is read only while that matters: to stock Envoys, which are told
nothing before it is read, and to filters at ports that Pods name. Imported only under --kubernetes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Self

import orjson
import structlog

from aeraki_xds.errors import ConfigurationError
from aeraki_xds.ingest.event import Emit
from aeraki_xds.ingest.kubernetes.client import Cluster as Connection
from aeraki_xds.ingest.kubernetes.client import ClusterError
from aeraki_xds.ingest.kubernetes.serving import ENDPOINTS
from aeraki_xds.ingest.kubernetes.source import ON_REQUEST, KubernetesSource
from aeraki_xds.mesh.links import Subject
from aeraki_xds.mesh.names import SERVING
from aeraki_xds.mesh.tenancy import Tenancy
from aeraki_xds.pipeline import Pipeline
from aeraki_xds.pipeline.last_good import LastGood
from aeraki_xds.pipeline.written import WriteState
from aeraki_xds.settings import ClusterSettings, Role
from aeraki_xds.translate.compose import Ads, Recipe
from aeraki_xds.translate.envoyfilter.profile import EnvoyFilters, Mend
from aeraki_xds.writeback.election import Election
from aeraki_xds.writeback.objects import Install
from aeraki_xds.writeback.planner import Planner
from aeraki_xds.writeback.shadow import Printer
from aeraki_xds.writeback.writer import Writer

_KUBECONFIG: Final = "kubeconfig.admin"
"""The key of the config-store Secret (specification §2.2)."""


class Cluster:
    """`own` is the cluster of the replicas, `store` the one with the configuration; mostly one."""

    def __init__(
        self, settings: ClusterSettings, tenancy: Tenancy, *, own: Connection, store: Connection
    ) -> None:
        self._settings = settings
        self._tenancy = tenancy
        self._own, self._store = own, store
        mesh = tenancy.mesh_config_key
        self._source = KubernetesSource(
            connection=store, root_namespace=mesh.namespace, mesh_config_name=mesh.name
        )
        self._wanted: frozenset[tuple[str, str]] | None = None
        self._writer: Writer | None = None
        self._log = structlog.get_logger("aeraki_xds.cluster")

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: ClusterSettings, tenancy: Tenancy) -> AsyncIterator[Self]:
        """Connect. Raises ConfigurationError."""
        path = settings.kubeconfig
        async with Connection.of_kubeconfig(path) if path else Connection.in_cluster() as own:
            if not settings.config_store_secret:
                yield cls(settings, tenancy, own=own, store=own)
                return
            text = await _kubeconfig(own, tenancy.root, settings.config_store_secret)
            async with Connection.of_kubeconfig_text(text) as store:
                yield cls(settings, tenancy, own=own, store=store)

    @property
    def names(self) -> tuple[str, ...]:
        """One for each kind."""
        return self._source.names

    @property
    def istio(self) -> EnvoyFilters | None:
        """How EnvoyFilters are made; a replica that only serves makes none."""
        return None if self._settings.role is Role.NONE else self._settings.delivery

    @property
    def written(self) -> WriteState | None:
        """How the writing goes, where there is any."""
        return self._writer.state if self._writer is not None else None

    def remember(self, last_good: LastGood) -> None:
        """A cluster says all by itself."""

    async def run(self, emit: Emit) -> None:
        """Watch it."""
        await self._source.run(emit)

    async def tend(self, pipeline: Pipeline) -> None:
        """Look for what is wanted of the cluster, and write what Istio is to be given."""

        def may_open(recipe: Recipe) -> bool:
            was_read = all(pipeline.sources[name].was_read for name in ENDPOINTS)
            return was_read or not isinstance(recipe, Ads)

        pipeline.touched.forgotten |= SERVING
        pipeline.may_open = may_open
        pipeline.on_taken = lambda: self._look(pipeline)
        match self._settings.role:
            case Role.WRITE:
                await self._write(pipeline)
            case Role.SHADOW:
                await Printer(self._planner(pipeline), self._print).run()
            case Role.NONE:
                pass

    def _look(self, pipeline: Pipeline) -> None:
        """What is wanted is known when the kinds are that may make it so, unless it is before."""
        others = (state for name, state in pipeline.sources.items() if name not in ON_REQUEST)
        is_told = all(state.has_spoken for state in others)
        self._look_for_secrets(pipeline, is_told=is_told)
        wanted = any(isinstance(recipe, Ads) for recipe in pipeline.recipes)
        wanted = wanted or (
            self._looks_up_names and bool(pipeline.graph.used(Subject.TARGET_NAMES))
        )
        if wanted or is_told:
            self._source.want_endpoints(wanted)

    @property
    def _looks_up_names(self) -> bool:
        """Whether filters are at the ports of workloads, so that those with a name need slices."""
        return self.istio is not None and self.istio.has(Mend.TARGET_PORT)

    def _look_for_secrets(self, pipeline: Pipeline, *, is_told: bool) -> None:
        """Those that rules name."""
        topics = pipeline.graph.used(Subject.SECRET)
        wanted = frozenset(
            (space, name) for space, _, name in (t.name.partition("/") for t in topics)
        )
        if wanted != self._wanted and (wanted or is_told):
            self._wanted = wanted
            self._source.want_secrets(wanted)

    def _planner(self, pipeline: Pipeline) -> Planner:
        like_aeraki = not self._settings.delivery.mends
        install = Install(
            instance=self._settings.instance,
            root_namespace=self._tenancy.root,
            adopts=like_aeraki,
        )
        return Planner(self._store, pipeline.desired, install, any_order=like_aeraki)

    async def _write(self, pipeline: Pipeline) -> None:
        election = Election(
            self._own, namespace=self._tenancy.root, identity=self._settings.server_id
        )
        writer = self._writer = Writer(self._store, self._planner(pipeline), election)
        async with election.running(), asyncio.TaskGroup() as tasks:
            tasks.create_task(writer.run())
            tasks.create_task(self._confirm(writer))

    async def _confirm(self, writer: Writer) -> None:
        """Agree to the mass deletion that was named at the start, when it comes to that."""
        digest = self._settings.confirm_deletions
        while digest and not writer.confirm(digest):
            await asyncio.sleep(1)

    def _print(self, line: str) -> None:
        self._log.info("shadow", would=line)


async def _kubeconfig(own: Connection, namespace: str, name: str) -> bytes:
    """What is in the config-store Secret. Raises ConfigurationError that names it."""
    where = f"--config-store-secret: the Secret {namespace}/{name}"
    try:
        secret = orjson.loads(await own.get(f"/api/v1/namespaces/{namespace}/secrets/{name}"))
        return base64.b64decode(secret["data"][_KUBECONFIG], validate=True)
    except ClusterError as failure:
        message = f"{where} cannot be read: {failure}"
    except (KeyError, TypeError, binascii.Error):
        message = f"{where} has no key {_KUBECONFIG}"
    raise ConfigurationError(message)
