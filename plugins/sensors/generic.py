"""Sensor kind `generic`: any JSON, by a mapping that is written in the configuration.

Every field of a signal is looked up by a *source*: a path below the item (`host.name`, `alerts[0].id`), below what the
list of items stands in (`^.host`), below the whole payload (`$.tenant`), several paths of which the first that leads
somewhere counts, a JMESPath expression (`{jmes: …}`), or a literal (`{value: …}`). What is missing is missing; what is
there but unreadable is reported, never guessed.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from plugins.contract import Collector, Normalized, Sample
from plugins.mapped import items_of, read_items, spelled
from plugins.mapping import GenericOptions
from plugins.reading import ItemFault
from plugins.samples.generic import SAMPLES
from risk.values import Strict

AT_A_STRETCH = 16
"""Most items that are read at a stretch: a tenth of a millisecond."""


class GenericSensor:
    """Reads any JSON by the mapping of its options."""

    kind: ClassVar[str] = "generic"
    title: ClassVar[str] = "Any JSON, by a mapping in the configuration"
    options_type: ClassVar[type[Strict]] = GenericOptions

    def normalize(
        self,
        payload: Any,
        options: GenericOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],
    ) -> Normalized:
        """Return one signal per item of the payload."""
        gathered = Collector()
        try:
            items = items_of(payload, options)
        except ItemFault as error:
            gathered.reject(0, error.code, str(error), payload)
            return gathered.done(1)
        if items is None:
            wanted = ", ".join(spelled(options.items or ""))
            gathered.reject(0, "no-items", f"`{wanted}` leads to no list of items", payload)
        elif not items:
            gathered.ignore()
        # This loop is not compiled: between two stretches of a large delivery, other threads have their turn.
        for first in range(0, len(items or ()), AT_A_STRETCH):
            read_items(
                gathered, payload, (items or ())[first : first + AT_A_STRETCH], options,
                first=first, sensor=sensor, received_at=received_at, headers=headers,
            )  # fmt: skip
        return gathered.done(max(1, len(items or ())))

    samples: ClassVar[tuple[Sample, ...]] = SAMPLES
