"""The people and laptops of the demo, known alike to its provider, its app and its sensor."""

import msgspec


class Laptop(msgspec.Struct, frozen=True):
    """A managed laptop. `serial` is what both the provider's claim and the sensor call it."""

    serial: str
    hostname: str
    system: str


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person of the demo, with the laptop that the provider says the person signs in from."""

    subject: str
    name: str
    email: str
    role: str
    groups: tuple[str, ...]
    laptop: Laptop | None

    @property
    def initials(self) -> str:
        """Return the first letters of the names."""
        return "".join(word[0] for word in self.name.split())


PEOPLE: dict[str, Person] = {
    person.subject: person
    for person in (
        Person(
            subject="ana",
            name="Ana Torres",
            email="ana.torres@demo.example",
            role="Staff, engineering",
            groups=("staff", "engineering"),
            laptop=Laptop("PGD-7Q4-0001", "ana-laptop", "Debian 12"),
        ),
        Person(
            subject="ben",
            name="Ben Okafor",
            email="ben.okafor@demo.example",
            role="Staff, finance",
            groups=("staff", "finance"),
            laptop=Laptop("PGD-7Q4-0002", "ben-laptop", "Windows 11"),
        ),
        Person(
            subject="chloe",
            name="Chloe Martin",
            email="chloe.martin@demo.example",
            role="Contractor",
            groups=("contractors",),
            laptop=None,
        ),
        Person(
            subject="dana",
            name="Dana Weiss",
            email="dana.weiss@demo.example",
            role="Staff, administrator",
            groups=("staff", "admins"),
            laptop=Laptop("PGD-7Q4-0004", "dana-laptop", "macOS 15"),
        ),
    )
}
"""Everybody by subject, in the order in which pages show them."""

LAPTOPS: dict[str, Laptop] = {
    person.laptop.serial: person.laptop for person in PEOPLE.values() if person.laptop is not None
}
"""Every managed laptop by serial number."""
