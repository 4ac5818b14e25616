"""Config: the parameters of CONFIG GET/SET (first cut: the ones the engine reads)."""

from __future__ import annotations


class Config:
    """Names and values; values are kept as the text CONFIG GET shows."""

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self.values = {
            "databases": "16", "requirepass": "", "maxclients": "10000", "timeout": "0",
            "proto-max-bulk-len": str(512 * 1024 * 1024),
            "client-query-buffer-limit": str(1 << 30), "tcp-keepalive": "300", "protected-mode": "yes",
        }  # fmt: skip
        self.values.update(values or {})

    def text(self, name: str) -> str:
        """The value as text."""
        return self.values[name]

    def integer(self, name: str) -> int:
        """The value as a whole number."""
        return int(self.values[name])

    def boolean(self, name: str) -> bool:
        """True for yes."""
        return self.values[name] == "yes"

    @staticmethod
    def parse_arguments(rest: list[str]) -> dict[str, str]:
        """--name value pairs as redis-server takes them."""
        return {rest[i].removeprefix("--"): rest[i + 1] for i in range(0, len(rest) - 1, 2)}
