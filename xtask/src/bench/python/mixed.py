"""What many programs do: JSON, dicts, strings, objects of classes, regular expressions."""

import json
import re

from measured import measure

WORD = re.compile(r"(\w+)=(\d+)")


class Reading:
    def __init__(self, name, value):
        self.name = name
        self.value = value
        self.tags = {"unit": "MiB", "name": name}

    def scaled(self, by):
        return Reading(self.name.upper(), self.value * by)


def one_round(number):
    records = [
        {"id": index, "name": "record %d" % index, "values": [index * 0.5, index + number], "ok": index % 3 == 0}
        for index in range(30)
    ]
    found = json.loads(json.dumps(records))
    by_name = {record["name"]: record for record in found}
    line = " ".join("%s=%d" % (name.replace(" ", "_"), len(record["values"])) for name, record in by_name.items())
    counts = {}
    for name, count in WORD.findall(line):
        counts[name] = counts.get(name, 0) + int(count)
    readings = [Reading(name, count).scaled(2) for name, count in counts.items()]
    readings.sort(key=lambda reading: (reading.value, reading.name))
    return ",".join(reading.name.lower() for reading in readings).split(",")


def work(rounds):
    for number in range(rounds):
        one_round(number)


measure(work)
