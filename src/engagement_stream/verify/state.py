"""What one round leaves to the next: how far every place was read and every stage was followed. Small on purpose."""

from dataclasses import dataclass, field

from engagement_stream.verify.extent import Offsets
from engagement_stream.verify.ledger import Ledger
from engagement_stream.verify.letters import LettersRead
from engagement_stream.verify.raw_topic import Contents, Raw
from engagement_stream.verify.source import Ids
from engagement_stream.verify.totals import Totals


@dataclass(slots=True)
class State:
    """Fresh, it stands at the very beginning of everything: a round from there looks at all there is."""

    ledger: Ledger
    raw_next: Offsets = field(default_factory=dict)
    enriched_next: Offsets = field(default_factory=dict)
    letters: LettersRead = field(default_factory=LettersRead)
    followed: dict[str, Offsets] = field(default_factory=dict)
    """Stage -> up to which offset of the topic it reads from its work was compared."""
    last_arrival: int = 0
    """At the receiver."""
    ids: Ids = field(default_factory=Ids)
    contents: Contents = field(default_factory=Contents)
    raw: Raw = field(default_factory=Raw)
    totals: Totals = field(default_factory=Totals)
