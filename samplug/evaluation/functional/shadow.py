"""Balanced error rate of shadow detection."""

from dataclasses import dataclass

from samplug.evaluation.functional.counts import LevelCounts

# TS-SAM's threshold on a map of 0..255.
TSSAM_THRESHOLD = 125 / 255


@dataclass(frozen=True)
class Confusion:
    """Numbers of pixels by ground truth and decision; adding pools several images."""

    true_positive: int
    false_negative: int
    true_negative: int
    false_positive: int

    @classmethod
    def of(cls, counts: LevelCounts, threshold: float = 0.5) -> "Confusion":
        """Count decisions; shadow is where the prediction, as a fraction of 255, exceeds ``threshold``."""
        true, false = counts.above(threshold)
        return cls(true, counts.foreground - true, counts.size - counts.foreground - false, false)

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(
            self.true_positive + other.true_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
            self.false_positive + other.false_positive,
        )

    @property
    def has_both(self) -> bool:
        """True if the ground truth has shadow and lit pixels."""
        return bool(self.true_positive + self.false_negative and self.true_negative + self.false_positive)

    def error_rates(self) -> dict[str, float]:
        """Compute the error rates ``BER_shadow`` and ``BER_non_shadow`` and their mean ``BER``, in percent.

        The rate of a class that is absent from the ground truth is left out; ``BER`` is then the other class's rate, so
        it is always finite.
        """
        shadow = self.true_positive + self.false_negative
        lit = self.true_negative + self.false_positive
        rates = {}
        if shadow:
            rates["BER_shadow"] = 100 * self.false_negative / shadow
        if lit:
            rates["BER_non_shadow"] = 100 * self.false_positive / lit
        return {"BER": sum(rates.values()) / len(rates), **rates}
