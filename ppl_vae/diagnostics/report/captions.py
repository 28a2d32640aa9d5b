"""The words of the page that are of no single topic, and the papers that it cites."""

from __future__ import annotations

LOO = (
    "The draws that ppl_vae.inference_data hands to ArviZ hold log p(x|z) of every datum. Leave-one-out "
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
    "Benjamini, Hochberg (1995). Controlling the false discovery rate: a practical and powerful approach to "
    "multiple testing. JRSS B 57.",
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
    "Linhart, Gramfort, Rodrigues (2023). L-C2ST: local diagnostics for posterior approximations in "
    "simulation-based inference. NeurIPS. arXiv:2306.03580.",
    "Lopez-Paz, Oquab (2017). Revisiting classifier two-sample tests. ICLR. arXiv:1610.06545.",
    "Modrák et al. (2023). Simulation-based calibration checking for Bayesian computation: the choice of test "
    "quantities shapes sensitivity. Bayesian Analysis. arXiv:2211.02383.",
    "Neal (2001). Annealed importance sampling. Statistics and Computing 11. arXiv:physics/9803008.",
    "Säilynoja, Bürkner, Vehtari (2022). Graphical test for discrete uniformity and its applications in "
    "goodness-of-fit evaluation and multiple sample comparison. Statistics and Computing 32. arXiv:2103.10522.",
    "Säilynoja, Schmitt, Bürkner, Vehtari (2025). Posterior SBC: simulation-based calibration checking conditional "
    "on data. arXiv:2502.03279.",
    "Sugiyama, Suzuki, Kanamori (2012). Density ratio estimation in machine learning. Cambridge University Press.",
    "Talagrand (1996). Transportation cost for Gaussian and other product measures. GAFA 6.",
    "Talts, Betancourt, Simpson, Vehtari, Gelman (2018). Validating Bayesian inference algorithms with "
    "simulation-based calibration. arXiv:1804.06788.",
    "Vehtari, Gelman, Simpson, Carpenter, Bürkner (2021). Rank-normalization, folding, and localization: an "
    "improved R-hat for assessing convergence of MCMC. Bayesian Analysis 16. arXiv:1903.08008.",
    "Vehtari, Simpson, Gelman, Yao, Gabry (2024). Pareto smoothed importance sampling. JMLR 25. arXiv:1507.02646.",
    "Yao, Vehtari, Simpson, Gelman (2018). Yes, but did it work? Evaluating variational inference. ICML. "
    "arXiv:1802.02538.",
)
