"""What titles are made of: English and some Arabic."""

import random
from typing import Literal

ContentType = Literal["podcast", "newsletter", "video"]

_FRAMES: dict[ContentType, tuple[str, ...]] = {
    "podcast": ("{}, out loud", "The {} hour", "Long talks on {}", "{} from scratch", "Why {}?"),
    "newsletter": ("The {} letter", "{} in five minutes", "Monday: {}", "What changed in {}", "{} & friends"),
    "video": ("{} explained", "A walk through {}", "{}: the short film", "Inside {}", '"{}" — a visit'),
}
_TOPICS = (
    ("slow-travel", "slow travel"),
    ("city-gardens", "city gardens"),
    ("open-data", "open data"),
    ("night-trains", "night trains"),
    ("street-food", "street food"),
    ("deep-sea", "the deep sea"),
    ("old-maps", "old maps"),
    ("home-energy", "home energy"),
    ("small-business", "small business"),
    ("climate", "climate"),
    ("football-tactics", "football tactics"),
    ("language-learning", "language learning"),
    ("cafe-culture", "café culture"),
    ("astronomy", "astronomy"),
    ("machine-learning", "machine learning"),
    ("paper-crafts", "paper crafts"),
    ("desert-life", "desert life"),
    ("coffee", "coffee ☕"),
    ("rivers", "rivers"),
    ("radio-history", "radio history"),
)
_FRAMES_AR: dict[ContentType, tuple[str, ...]] = {
    "podcast": ("بودكاست {}", "حديث عن {}", "ساعة مع {}"),
    "newsletter": ("نشرة {}", "{} في خمس دقائق", "رسالة {} الأسبوعية"),
    "video": ("شرح {}", "جولة في {}", "{}: فيلم قصير"),
}
_TOPICS_AR = (
    ("tarikh", "التاريخ"),
    ("falak", "علم الفلك"),
    ("tabkh", "فنون الطبخ"),
    ("iqtisad", "الاقتصاد"),
    ("taqniya", "التقنية"),
    ("adab", "الأدب العربي"),
    ("riyada", "كرة القدم"),
    ("bahr", "البحر الأحمر"),
)
_ARABIC_SHARE = 0.25


def name(content_type: ContentType, number: int, rng: random.Random) -> tuple[str, str]:
    """A (slug, title) that no other `number` has."""
    arabic = rng.random() < _ARABIC_SHARE
    stem, topic = rng.choice(_TOPICS_AR if arabic else _TOPICS)
    title = rng.choice((_FRAMES_AR if arabic else _FRAMES)[content_type]).format(topic)
    return f"{content_type}-{stem}-{number}", f"{title[0].upper()}{title[1:]} #{number}"


def retitled(title: str, rng: random.Random) -> str:
    """The title after an editor had a second thought; it does not grow with every thought."""
    stem = title.split(" · ", 1)[0]
    return f"{stem} · {rng.choice(('updated', 'new cut', 'part 1', 'محدّث', 'الجزء الأول', '2nd edition'))}"
