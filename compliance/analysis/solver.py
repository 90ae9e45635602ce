"""A search over variables with finite domains, exact within a bound of steps. Pure.

A variable is an index, its domain a bit mask of the values that are still possible. A literal says that a variable has
one of some values; a clause, that one of its literals holds. The search propagates clauses with one literal left and
splits on a shortest one (Davis, Putnam, Logemann, Loveland, for finite domains).
"""

from collections.abc import Sequence

Literal = tuple[int, int]
"""A variable and the mask of the values that it may have."""

Clause = tuple[Literal, ...]

MAX_STEPS = 50_000
"""Most splits of one search."""


class TooHard(Exception):
    """The search was given up: nothing is known."""


def solve(
    domains: Sequence[int], clauses: Sequence[Clause], *, max_steps: int = MAX_STEPS
) -> tuple[int, ...] | None:
    """Return one value (a bit number) for every variable, so that all clauses hold; None when there are none.

    The lowest value that is left is taken: put the ordinary one first. Raises `TooHard` after `max_steps` splits.
    """
    return Prepared(domains, clauses).solve(domains, (), max_steps=max_steps)


class Prepared:
    """Clauses that many searches have in common: what follows from them alone is worked out once."""

    def __init__(self, domains: Sequence[int], clauses: Sequence[Clause]) -> None:
        """Variables may be added to the domains later; these clauses say nothing of them."""
        state = list(domains)
        is_possible = all(domains) and _Search(clauses, 0).propagate(state, list(range(len(clauses))))
        self.state = state if is_possible else None
        self.clauses = [
            clause for clause in clauses if not any(not state[variable] & ~mask for variable, mask in clause)
        ]
        self.of = _index(self.clauses, 0)

    def solve(
        self, domains: Sequence[int], clauses: Sequence[Clause], *, max_steps: int = MAX_STEPS
    ) -> tuple[int, ...] | None:
        """Return what `solve` returns for these clauses together with the common ones."""
        if self.state is None:
            return None
        state = [*self.state, *domains[len(self.state) :]]
        return _Search(clauses, max_steps, self).run(state)


def _index(clauses: Sequence[Clause], start: int) -> dict[int, list[int]]:
    """Return the numbers of the clauses that speak of each variable."""
    of: dict[int, list[int]] = {}
    for number, clause in enumerate(clauses, start):
        for variable, _ in clause:
            of.setdefault(variable, []).append(number)
    return of


def cheapest(
    domains: Sequence[int],
    clauses: Sequence[Clause],
    prices: Sequence[Sequence[int]],
    most: int,
    *,
    max_steps: int = MAX_STEPS,
) -> tuple[int, tuple[int, ...]] | None:
    """Return the least price below `most` at which all clauses hold, and the values; None when there is none.

    `prices` gives for every variable what each of its values costs. Raises `TooHard` after `max_steps` splits.
    """
    return _Bargain(clauses, max_steps, prices).best(list(domains), most)


class _Search:
    def __init__(self, clauses: Sequence[Clause], max_steps: int, common: Prepared | None = None) -> None:
        shared = [] if common is None else common.clauses
        self._clauses = [*shared, *clauses]
        self._first = len(shared)
        self._left = max_steps
        self._shared = {} if common is None else common.of
        self._own = _index(clauses, len(shared))

    def _of(self, variable: int) -> list[int]:
        """Return the numbers of the clauses that speak of a variable."""
        return [*self._shared.get(variable, ()), *self._own.get(variable, ())]

    def run(self, domains: list[int]) -> tuple[int, ...] | None:
        """Depth first, without recursion: each entry of the stack is a state that is still to be tried."""
        if not all(domains):
            return None
        # The common clauses are narrowed already.
        stack: list[tuple[list[int], list[int]]] = [(domains, list(range(self._first, len(self._clauses))))]
        while stack:
            state, changed = stack.pop()
            if not self.propagate(state, changed):
                continue
            split = self._split(state)
            if split is None:
                return tuple((domain & -domain).bit_length() - 1 for domain in state)
            stack += self._fork(state, *split)
        return None

    def _fork(self, state: list[int], variable: int, mask: int) -> list[tuple[list[int], list[int]]]:
        """Return the state without and with some values, each with the clauses to look at. Raises `TooHard`."""
        self._left -= 1
        if self._left < 0:
            raise TooHard
        without = state.copy()
        without[variable] &= ~mask
        state[variable] &= mask
        return [(each, self._of(variable)) for each in (without, state)]

    def propagate(self, state: list[int], queue: list[int]) -> bool:
        """Narrow domains until nothing follows any more. Returns False for a contradiction."""
        while queue:
            clause = self._clauses[queue.pop()]
            open_: Literal | None = None
            count = 0
            for variable, mask in clause:
                domain = state[variable]
                if not domain & ~mask:
                    break
                if domain & mask:
                    open_ = (variable, mask)
                    count += 1
            else:
                if open_ is None:
                    return False
                if count == 1:
                    state[open_[0]] &= open_[1]
                    queue += self._of(open_[0])
        return True

    def _split(self, state: list[int]) -> Literal | None:
        """Return a literal of a shortest clause that is not yet settled, None when all are."""
        best: Literal | None = None
        shortest = 1 << 30
        for clause in self._clauses:
            open_: Literal | None = None
            count = 0
            for variable, mask in clause:
                domain = state[variable]
                if not domain & ~mask:
                    break
                if domain & mask:
                    open_ = open_ or (variable, mask)
                    count += 1
            else:
                if count < shortest:
                    best, shortest = open_, count
                    if count == 2:  # noqa: PLR2004 - of what is left after narrowing, none is shorter
                        break
        return best


class _Bargain(_Search):
    """Branch and bound: what is left of a state can never cost less than the cheapest value of each variable."""

    def __init__(self, clauses: Sequence[Clause], max_steps: int, prices: Sequence[Sequence[int]]) -> None:
        super().__init__(clauses, max_steps)
        self._prices = prices
        self._priced = [at for at, each in enumerate(prices) if any(each)]

    def best(self, domains: list[int], most: int) -> tuple[int, tuple[int, ...]] | None:
        """Return the least price below `most` with the values, None without one."""
        found: tuple[int, tuple[int, ...]] | None = None
        if not all(domains):
            return None
        stack = [(domains, list(range(len(self._clauses))))]
        while stack:
            state, changed = stack.pop()
            if not self.propagate(state, changed):
                continue
            price = self._least(state)
            if price >= most:
                continue
            split = self._split(state)
            if split is None:
                most, found = price, (price, tuple(map(self._choice, range(len(state)), state)))
                continue
            # The cheaper way is tried first: it is on top.
            stack += sorted(self._fork(state, *split), key=lambda way: -self._least(way[0]))
        return found

    def _least(self, state: list[int]) -> int:
        return sum(
            min(price for value, price in enumerate(self._prices[at]) if state[at] >> value & 1)
            for at in self._priced
        )

    def _choice(self, at: int, domain: int) -> int:
        return min(
            (value for value in range(domain.bit_length()) if domain >> value & 1),
            key=lambda value: (self._prices[at][value], value),
        )
