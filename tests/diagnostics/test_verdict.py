from ppl_vae.diagnostics import Verdict


def test_a_verdict_reads_as_a_line():
    verdict = Verdict("Evidence gap", "bad", 1.234567, 0.0123, "nats", "0.1 nats", "Too wide.", "Train longer.")
    assert str(verdict) == "Evidence gap: 1.235 ± 0.012 nats (bad). Too wide. Train longer."


def test_without_a_standard_error_or_unit_none_is_shown():
    assert str(Verdict("Active units", "good", 3.0, words="All.")) == "Active units: 3 (good). All."
