"""The words for every topic: the question, how it is answered, and what the answer cannot prove."""

from __future__ import annotations

from ppl_vae.diagnostics.topics.topic import Explanation

IMPORTANCE = Explanation(
    question="Is q(z|x) wide enough to stand in for the posterior p(z|x) of each datum?",
    method="Draws from q are weighted by p(x, z) / q(z|x). A generalised Pareto distribution is fitted to "
    "the largest weights of every datum; its shape is Pareto k-hat.",
    shows="A k-hat below the threshold says that averages over the posterior can be had from q by "
    "importance weights, with the effective sample size shown. A large one says that q misses places "
    "where the posterior has mass, and that the weighted averages of that datum, log p(x) among them, are "
    "not to be trusted.",
    cannot="The weights see only where q draws: a mode of the posterior that q never visits leaves no trace in "
    "k-hat.",
)
GLOBAL_IMPORTANCE = Explanation(
    question="Is q(g) of the global sites wide enough to stand in for their posterior given all data?",
    method="Draws from q(g) are weighted by p(g) / q(g) times the local importance estimates of p(x | g) of every "
    "datum, which are independent given g. k-hat is the tail index of these weights.",
    shows="A k-hat below the threshold says that averages over the posterior of the global sites can be had from "
    "q(g) by weights, and that the log evidence of the whole data set is known within its error.",
    cannot="What the local draws leave of noise widens the tail too, so that a large k-hat may go down with "
    "more of them. A mode of the global sites that q(g) never visits leaves no trace.",
)
EVIDENCE = Explanation(
    question="How likely are the data under the model, and how tight is the ELBO?",
    method="The importance bound averages K weights inside the logarithm; annealed importance sampling "
    "walks from the prior to the posterior by Hamiltonian Monte Carlo. Both are lower bounds of log p(x) "
    "in expectation.",
    shows="Two methods that agree within their errors make either figure credible. The distance from the "
    "ELBO to them is the KL divergence from q(z|x) to the posterior.",
    cannot="Both lie below log p(x). Where they agree they may still both be too low, and a higher log "
    "p(x) does not make the code more useful.",
)
CALIBRATION = Explanation(
    question="Is the posterior of a datum centred and scaled right?",
    method="z is drawn from the prior, x from the model, and the true z is ranked among draws from "
    "q(z|x). Under the exact posterior every rank is equally likely; so are the ranks of log p(x|z) and "
    "log p(z).",
    shows="Curves are the excess of the cumulative ranks over uniform. Inside the grey band no fault is "
    "seen. A curve that leaves it with one hump is a bias; one that crosses zero steeply is a q that is "
    "too narrow or too wide.",
    cannot="It speaks of data that the model makes, on average over them: real data may be unlike those, "
    "and a q that is too wide here and too narrow there may pass.",
)
COVERAGE = Explanation(
    question="Do 90% regions of q(z|x) hold the truth in 90% of the cases?",
    method="On the same simulated data, the share of true z inside the credible regions of q of every "
    "level: central intervals of single dimensions, regions of highest density, and distances to random "
    "points (TARP).",
    shows="A curve below the diagonal claims more than it knows: its regions are too small, or in the "
    "wrong place. One above it claims too little.",
    cannot="Coverage is an average over data simulated from the model. The prior itself covers perfectly, so "
    "coverage alone does not show that q uses x; the rank of log p(x|z) above does.",
)
LOCAL_C2ST = Explanation(
    question="Is q(z|x) the posterior at these very data, one by one?",
    method="A classifier learns from data that the model simulates to tell the true z from a draw of q at the same "
    "x, and is asked at each datum (L-C2ST, Linhart et al. 2023). Classifiers that were taught with truth and draw "
    "exchanged at random give p-values, of which the false discoveries are held at 0.1.",
    shows="A datum that is found is one where q is wrong, even where calibration on average is perfect. How often "
    "a classifier of this size finds two planted faults is told beside the verdict.",
    cannot="It finds what a classifier can learn from so many simulations: a fault that is smaller than the "
    "planted ones, or lies where hardly any simulated data are, passes.",
)
POSTERIOR_CALIBRATION = Explanation(
    question="Is q calibrated around the datum that it serves worst?",
    method="z is drawn from q at that datum, new data from the model at z, and z is ranked among draws of q at the "
    "new data, weighted so that q at the datum is their prior (posterior SBC, Säilynoja et al. 2025). Where q is "
    "the posterior, ranks are uniform.",
    shows="Curves outside the band are a fault of q at data like this one, which an average over all that the "
    "model simulates may hide.",
    cannot="It speaks of the neighbourhood of one datum, and is as good as the weights, whose effective number is "
    "told.",
)
COLLAPSE = Explanation(
    question="Which latent dimensions carry information about x?",
    method="A dimension is active if the mean of q moves with x, by a variance above the threshold. The "
    "average KL is the information that the code holds about which datum it came from, plus the distance "
    "of the codes of all data together from the prior.",
    shows="Dimensions below the threshold are ignored by the decoder. A large distance of all codes from "
    "the prior means that draws from the prior land where no data are.",
    cannot="An active dimension need not mean anything to a person, and idle ones do no harm to the fit.",
)
DENSITY_RATIO = Explanation(
    question="Are draws of the prior codes that data have?",
    method="One draw of q(z|x) for every datum stands against as many draws of the prior. A classifier is fitted "
    "to tell them apart (Sugiyama, Suzuki and Kanamori 2012), and judged on draws that it was not fitted to; its "
    "logit is the log density ratio of the two.",
    shows="Where it tells them apart, what is drawn from the prior is not what the decoder was trained on.",
    cannot="A classifier that sees no difference proves none: with few data it sees only what is large.",
)
PREDICTIVE = Explanation(
    question="Does the model make data like the real ones?",
    method="Statistics of the data are compared with those of replicated data sets of the same size: "
    "drawn from the prior (population), or from every datum's own q(z|x) (local).",
    shows="A vertical line in the tail of the population histogram is a feature of the data that the "
    "model does not reproduce.",
    cannot="Only the statistics shown are checked. Local replicates are drawn from the posterior of the "
    "very datum that they are compared with, which is optimistic: passing proves little, failing much.",
)
GAPS = Explanation(
    question="Where is the distance between the ELBO and log p(x) lost?",
    method="For every datum q's own parameters are optimised, starting from the encoder's output. What "
    "remains is the price of the family (approximation gap); what was gained is the price of one encoder "
    "for all data (amortisation gap).",
    shows="A large approximation gap asks for a richer family, a large amortisation gap for a better or "
    "longer trained encoder, and a larger one on test data than on training data for a smaller encoder or "
    "more data.",
    cannot="log p(x) is estimated from below, so the approximation gap is too, and an optimiser that had "
    "not settled makes the amortisation gap too small.",
)
REFERENCE = Explanation(
    question="How does q(z|x) differ from draws of the posterior itself?",
    method="Hamiltonian Monte Carlo draws from p(z|x) of up to a hundred data at once, with the decoder as it "
    "is. A classifier then tries to tell these draws from those of q (C2ST): 0.5 is chance, 1 is certainty.",
    shows="Points are the sampler's, outlines those of q. Where they lie apart q is wrong, and the "
    "picture shows in which direction.",
    cannot="The sampler may miss a mode too: chains that agree (R-hat near 1) are evidence, not proof.",
)
