"""Joins the stages: events in, publications out; the only package that sees ingest, translate and
xds at once.

`coalesce` decides when a batch is complete, `ledger` what is in force in a scope, `scopes` what a
proxy sees, `pipeline` runs a batch from the store to the hub, `sources` is what is known of those
that speak, `last_good` is what a restart has to know, `report` says what is wrong.
"""

from __future__ import annotations

from aeraki_xds.pipeline.pipeline import Pipeline
from aeraki_xds.pipeline.scopes import Scopes

__all__ = ["Pipeline", "Scopes"]
