"""The control plane of Aeraki Mesh: an asyncio xDS management server for what is not HTTP."""

__version__ = "0.1.0"
