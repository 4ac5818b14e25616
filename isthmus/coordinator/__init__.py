"""The coordinator: the one authority of a region on membership, slot ownership and epochs.

`model` and `placement` are pure and decide; `store` keeps; `rpc` talks to nodes and proxies;
`server` joins them; `main` starts the process. DESIGN.md has the glossary and the protocol.
"""
