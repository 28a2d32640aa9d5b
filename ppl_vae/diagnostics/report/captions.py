"""The words for every topic: the question, how it is answered, and what the answer cannot prove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """The words beside a topic's figures.

    Attributes:
        question: what it answers.
        method: how the numbers were had.
        shows: what a good or bad picture proves.
        cannot: what it does not.
    """

    question: str
    method: str
    shows: str
    cannot: str


EXPLANATIONS: Mapping[str, Explanation] = {
    "importance": Explanation(
        question="Is q(z|x) wide enough to stand in for the posterior p(z|x) of each datum?",
        method="Draws from q are weighted by p(x, z) / q(z|x). A generalised Pareto distribution is fitted to "
        "the largest weights of every datum; its shape is Pareto k-hat.",
        shows="A k-hat below the threshold says that averages over the posterior can be had from q by "
        "importance weights, with the effective sample size shown. A large one says that q misses places "
        "where the posterior has mass, and that the weighted averages of that datum, log p(x) among them, are "
        "not to be trusted.",
        cannot="The weights see only where q draws: a mode of the posterior that q never visits leaves no trace in "
        "k-hat.",
    ),
    "evidence": Explanation(
        question="How likely are the data under the model, and how tight is the ELBO?",
        method="The importance bound averages K weights inside the logarithm; annealed importance sampling "
        "walks from the prior to the posterior by Hamiltonian Monte Carlo. Both are lower bounds of log p(x) "
        "in expectation.",
        shows="Two methods that agree within their errors make either figure credible. The distance from the "
        "ELBO to them is the KL divergence from q(z|x) to the posterior.",
        cannot="Both lie below log p(x). Where they agree they may still both be too low, and a higher log "
        "p(x) does not make the code more useful.",
    ),
    "calibration": Explanation(
        question="Is the posterior of a datum centred and scaled right?",
        method="z is drawn from the prior, x from the model, and the true z is ranked among draws from "
        "q(z|x). Under the exact posterior every rank is equally likely; so are the ranks of log p(x|z) and "
        "log p(z).",
        shows="Curves are the excess of the cumulative ranks over uniform. Inside the grey band no fault is "
        "seen. A curve that leaves it with one hump is a bias; one that crosses zero steeply is a q that is "
        "too narrow or too wide.",
        cannot="It speaks of data that the model makes, on average over them: real data may be unlike those, "
        "and a q that is too wide here and too narrow there may pass.",
    ),
    "coverage": Explanation(
        question="Do 90% regions of q(z|x) hold the truth in 90% of the cases?",
        method="On the same simulated data, the share of true z inside the credible regions of q of every "
        "level: central intervals of single dimensions, regions of highest density, and distances to random "
        "points (TARP).",
        shows="A curve below the diagonal claims more than it knows: its regions are too small, or in the "
        "wrong place. One above it claims too little.",
        cannot="Coverage is an average over data simulated from the model. The prior itself covers perfectly, so "
        "coverage alone does not show that q uses x; the rank of log p(x|z) above does.",
    ),
    "collapse": Explanation(
        question="Which latent dimensions carry information about x?",
        method="A dimension is active if the mean of q moves with x, by a variance above the threshold. The "
        "average KL is the information that the code holds about which datum it came from, plus the distance "
        "of the codes of all data together from the prior.",
        shows="Dimensions below the threshold are ignored by the decoder. A large distance of all codes from "
        "the prior means that draws from the prior land where no data are.",
        cannot="An active dimension need not mean anything to a person, and idle ones do no harm to the fit.",
    ),
    "predictive": Explanation(
        question="Does the model make data like the real ones?",
        method="Statistics of the data are compared with those of replicated data sets of the same size: "
        "drawn from the prior (population), or from every datum's own q(z|x) (local).",
        shows="A vertical line in the tail of the population histogram is a feature of the data that the "
        "model does not reproduce.",
        cannot="Only the statistics shown are checked. Local replicates are drawn from the posterior of the "
        "very datum that they are compared with, which is optimistic: passing proves little, failing much.",
    ),
    "gaps": Explanation(
        question="Where is the distance between the ELBO and log p(x) lost?",
        method="For every datum q's own parameters are optimised, starting from the encoder's output. What "
        "remains is the price of the family (approximation gap); what was gained is the price of one encoder "
        "for all data (amortisation gap).",
        shows="A large approximation gap asks for a richer family, a large amortisation gap for a better or "
        "longer trained encoder, and a larger one on test data than on training data for a smaller encoder or "
        "more data.",
        cannot="log p(x) is estimated from below, so the approximation gap is too, and an optimiser that had "
        "not settled makes the amortisation gap too small.",
    ),
    "reference": Explanation(
        question="How does q(z|x) differ from draws of the posterior itself?",
        method="The No-U-Turn sampler draws from p(z|x) of a few data, with the decoder as it is. A "
        "classifier then tries to tell these draws from those of q (C2ST): 0.5 is chance, 1 is certainty.",
        shows="Points are the sampler's, outlines those of q. Where they lie apart q is wrong, and the "
        "picture shows in which direction.",
        cannot="These are a few data, not all. The sampler may miss a mode too: chains that agree (R-hat near "
        "1) are evidence, not proof.",
    ),
}
LOO = (
    "The draws that ppl_vae.diagnose hands to ArviZ hold log p(x|z) of every datum. Leave-one-out "
    "cross-validation (loo), waic and loo_pit on these numbers mean nothing: z is inferred from the very x "
    "that they would leave out. To score how well a model predicts, compare log p(x) of held-out data "
    "(ppl_vae.log_evidence), as above."
)
READING = (
    "Figures are in nats per datum unless said otherwise, with one standard error after ±. A verdict claims "
    "no more than its figure: “good” is the absence of a fault that this diagnostic can see on these data "
    "with this many draws."
)
SYMBOLS = (
    "z is the code of a datum x, q(z|x) what the encoder says about it, and p(z|x) the exact posterior of the "
    "trained model. The question is how far q may be trusted in the place of p(z|x). The decoder is taken as "
    "it is; only the predictive checks ask whether the model itself fits."
)
REFERENCES = (
    "Box (1980). Sampling and Bayes' inference in scientific modelling and robustness. JRSS A 143.",
    "Burda, Grosse, Salakhutdinov (2016). Importance weighted autoencoders. ICLR. arXiv:1509.00519.",
    "Cremer, Li, Duvenaud (2018). Inference suboptimality in variational autoencoders. ICML. arXiv:1801.03558.",
    "Gelman, Meng, Stern (1996). Posterior predictive assessment of model fitness via realized discrepancies. "
    "Statistica Sinica 6.",
    "Hermans et al. (2022). A trust crisis in simulation-based inference? TMLR. arXiv:2110.06581.",
    "Hoffman, Johnson (2016). ELBO surgery. NeurIPS workshop on advances in approximate Bayesian inference.",
    "Hoffman, Gelman (2014). The No-U-Turn sampler. JMLR 15. arXiv:1111.4246.",
    "Lemos, Coogan, Hezaveh, Perreault-Levasseur (2023). Sampling-based accuracy testing of posterior "
    "estimators for general inference. ICML. arXiv:2302.03026.",
    "Lopez-Paz, Oquab (2017). Revisiting classifier two-sample tests. ICLR. arXiv:1610.06545.",
    "Modrák et al. (2023). Simulation-based calibration checking for Bayesian computation: the choice of test "
    "quantities shapes sensitivity. Bayesian Analysis. arXiv:2211.02383.",
    "Neal (2001). Annealed importance sampling. Statistics and Computing 11. arXiv:physics/9803008.",
    "Säilynoja, Bürkner, Vehtari (2022). Graphical test for discrete uniformity and its applications in "
    "goodness-of-fit evaluation and multiple sample comparison. Statistics and Computing 32. arXiv:2103.10522.",
    "Talagrand (1996). Transportation cost for Gaussian and other product measures. GAFA 6.",
    "Talts, Betancourt, Simpson, Vehtari, Gelman (2018). Validating Bayesian inference algorithms with "
    "simulation-based calibration. arXiv:1804.06788.",
    "Vehtari, Gelman, Simpson, Carpenter, Bürkner (2021). Rank-normalization, folding, and localization: an "
    "improved R-hat for assessing convergence of MCMC. Bayesian Analysis 16. arXiv:1903.08008.",
    "Vehtari, Simpson, Gelman, Yao, Gabry (2024). Pareto smoothed importance sampling. JMLR 25. arXiv:1507.02646.",
    "Yao, Vehtari, Simpson, Gelman (2018). Yes, but did it work? Evaluating variational inference. ICML. "
    "arXiv:1802.02538.",
)
