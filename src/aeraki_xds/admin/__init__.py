"""The operator's view over HTTP: health, readiness, what was sent to whom, what is wrong.

`server` speaks HTTP and knows the paths; `proxies`, `configuration` and `tasks` make the pages, as
plain data and within bounds (`query`); `metrics` exports what was counted, `lag` measures the loop.
"""
