"""A local page on which pictures are compressed: `laconic studio`.

```
 browser ── requests ──> guard ──> app ──> pool ──> worker processes (torch, models, codecs)
                                    └─ store: uploads and results of each browser tab, bounded
```

The server process loads no torch. Work is done in processes of its own, which can be stopped: a
request that is cancelled ends its work.
"""
