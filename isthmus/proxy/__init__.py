"""The proxy: one RESP endpoint that makes a cluster look like one Redis. See DESIGN.md."""
