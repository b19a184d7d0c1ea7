"""The clock of a run: the moment that chat templates take for now, the same however often the run is continued."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lifealign_bench.errors import UsageError

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


@dataclass(frozen=True)
class Clock:
    """One moment with its offset from UTC.

    What a template is told are the moment's local date and time as they were where the run began; neither the zone nor
    the language of the machine that continues it matters.
    """

    moment: datetime

    @classmethod
    def now(cls) -> Clock:
        """The present second, here."""
        return cls(datetime.now().astimezone().replace(microsecond=0))

    @classmethod
    def of(cls, text: str | None) -> Clock:
        """The clock of a run whose configuration says ``text``; where it says nothing, the present second.

        Raises:
            UsageError: it is no moment.
        """
        return cls.now() if text is None else cls.read(text)

    @classmethod
    def read(cls, text: str) -> Clock:
        """What :meth:`text` wrote.

        Raises:
            UsageError: it is no moment.
        """
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise UsageError(
                f"{text[:60]!r} is no date and time.", "Write it like 2026-01-23T12:00:00+01:00."
            ) from error
        return cls(moment if moment.tzinfo is not None else moment.astimezone())

    def text(self) -> str:
        """ISO 8601 with the offset from UTC."""
        return self.moment.isoformat()

    def directives(self) -> dict[str, str]:
        """``strftime`` directive to what it writes of this moment, in English; names of zones are empty, as for the
        local time that templates are otherwise given. No value holds a percent sign."""
        # A year below 1000 or a platform's own directives are nothing a run meets.
        local = self.moment.replace(tzinfo=None)
        day, month = _DAYS[local.weekday()], _MONTHS[local.month - 1]
        half, hour = "AM" if local.hour < 12 else "PM", local.hour % 12 or 12
        year, week, weekday = local.isocalendar()
        numbers = {
            "d": (local.day, 2),
            "m": (local.month, 2),
            "y": (local.year % 100, 2),
            "C": (local.year // 100, 2),
            "G": (year, 4),
            "g": (year % 100, 2),
            "V": (week, 2),
            "u": (weekday, 1),
            "w": (weekday % 7, 1),
            "H": (local.hour, 2),
            "I": (hour, 2),
            "M": (local.minute, 2),
            "S": (local.second, 2),
            "j": (local.timetuple().tm_yday, 3),
            "U": ((local.timetuple().tm_yday + 6 - (local.weekday() + 1) % 7) // 7, 2),
            "W": ((local.timetuple().tm_yday + 6 - local.weekday()) // 7, 2),
        }
        found = {f"%{key}": f"{value:0{width}d}" for key, (value, width) in numbers.items()}
        found |= {f"%-{key}": str(value) for key, (value, _) in numbers.items()}
        date, time = f"{local:%m/%d/%y}", f"{local:%H:%M:%S}"
        found |= {"%Y": f"{local.year:04d}", "%e": f"{local.day:2d}", "%k": f"{local.hour:2d}", "%l": f"{hour:2d}"}
        found |= {"%a": day[:3], "%A": day, "%b": month[:3], "%h": month[:3], "%B": month, "%p": half}
        found |= {"%P": half.lower(), "%f": f"{local.microsecond:06d}", "%s": str(int(self.moment.timestamp()))}
        found |= {"%x": date, "%D": date, "%X": time, "%T": time, "%R": time[:5], "%F": f"{local:%Y-%m-%d}"}
        found |= {
            "%c": f"{day[:3]} {month[:3]} {local.day:2d} {time} {local.year}",
            "%r": f"{hour:02d}{time[2:]} {half}",
        }
        return found | {"%z": "", "%Z": "", "%n": "\n", "%t": "\t"}
