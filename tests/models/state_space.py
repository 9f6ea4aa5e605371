"""All states that a model can come to, and what is true of them: breadth first, none left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)


class Step(NamedTuple, Generic[S]):
    """What may happen in a state, and what it leads to."""

    action: str
    to: S


class Wrong(AssertionError):
    """A property does not hold; the message has the shortest way there."""


class Space(Generic[S]):
    """The states that can be reached, each with what may happen in it."""

    def __init__(self, first: S, steps: Callable[[S], Iterable[Step[S]]]) -> None:
        self.first = first
        self.steps: dict[S, list[Step[S]]] = {}
        self._came_from: dict[S, tuple[S, str] | None] = {first: None}
        waiting = deque([first])
        while waiting:
            state = waiting.popleft()
            found = self.steps[state] = list(steps(state))
            for action, to in found:
                if to not in self._came_from:
                    self._came_from[to] = state, action
                    waiting.append(to)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def edges(self) -> int:
        """How many steps there are."""
        return sum(map(len, self.steps.values()))

    def way_to(self, state: S) -> list[str]:
        """The fewest actions that lead there."""
        actions = []
        came = self._came_from[state]
        while came is not None:
            before, action = came
            actions.append(action)
            came = self._came_from[before]
        return actions[::-1]

    def always(self, holds: Callable[[S], object], what: str) -> None:
        """Safety: it holds in every state."""
        for state in self.steps:  # breadth first: the first one is nearest
            if not holds(state):
                raise Wrong(f"{what}: not in {state}, after {', '.join(self.way_to(state))}")

    def can_always_come_to(self, goal: Callable[[S], object], what: str) -> None:
        """Liveness: from every state there is a way to one of these: nobody is stuck, whatever went before."""
        back: dict[S, list[S]] = {state: [] for state in self.steps}
        for state, steps in self.steps.items():
            for step in steps:
                back[step.to].append(state)
        reached = {state for state in self.steps if goal(state)}
        waiting = list(reached)
        while waiting:
            for state in back[waiting.pop()]:
                if state not in reached:
                    reached.add(state)
                    waiting.append(state)
        for state in self.steps:
            if state not in reached:
                raise Wrong(f"{what}: never again from {state}, after {', '.join(self.way_to(state))}")
