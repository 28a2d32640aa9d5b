"""Pyro programs and the parts they are made of."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.models.code_priors.autoregressive_prior import AutoregressivePrior
    from ppl_vae.models.code_priors.diffusion_prior import DiffusionPrior
    from ppl_vae.models.code_priors.new_prior import with_new_prior
    from ppl_vae.models.code_priors.noise_contrastive_prior import NoiseContrastivePrior
    from ppl_vae.models.code_priors.two_stage import with_post_hoc_prior
    from ppl_vae.models.counts.count_vae import CountVAE
    from ppl_vae.models.counts.topic_vae import TopicVAE
    from ppl_vae.models.deep_markov.deep_markov_model import DeepMarkovModel
    from ppl_vae.models.deep_markov.gp_vae import GPVAE
    from ppl_vae.models.global_parameters.bayesian_decoder_vae import BayesianDecoderVAE
    from ppl_vae.models.global_parameters.groups_vae import GroupsVAE
    from ppl_vae.models.groups.ada_group_vae import AdaGroupVAE
    from ppl_vae.models.groups.shared_content_vae import SharedContentVAE
    from ppl_vae.models.hierarchies.hierarchical_vae import HierarchicalVAE
    from ppl_vae.models.hierarchies.ladder_vae import LadderVAE
    from ppl_vae.models.hierarchies.very_deep_vae import VeryDeepVAE
    from ppl_vae.models.invariant.invariant_vae import InvariantVAE
    from ppl_vae.models.labelled.categorical_vae import CategoricalVAE
    from ppl_vae.models.labelled.completion_baseline import CompletionBaseline
    from ppl_vae.models.labelled.completion_vae import CompletionVAE
    from ppl_vae.models.labelled.conditional_vae import ConditionalVAE
    from ppl_vae.models.labelled.covariate_vae import CovariateVAE
    from ppl_vae.models.labelled.encoder_decoder_vae import EncoderDecoderVAE
    from ppl_vae.models.labelled.gaussian_mixture_vae import GaussianMixtureVAE
    from ppl_vae.models.labelled.joint_vae import JointVAE
    from ppl_vae.models.labelled.observed_category import PartlyObservedCategory
    from ppl_vae.models.labelled.semi_supervised_vae import SemiSupervisedVAE
    from ppl_vae.models.latent_space.arithmetic import attribute_vector, decode_along
    from ppl_vae.models.latent_space.latent_grid import latent_grid
    from ppl_vae.models.latent_space.latent_map import latent_map
    from ppl_vae.models.likelihoods.levels import nominal, ordinal
    from ppl_vae.models.likelihoods.likelihoods import (
        BernoulliLikelihood,
        BetaLikelihood,
        CategoricalLikelihood,
        CensoredGaussianLikelihood,
        Columns,
        ContinuousBernoulliLikelihood,
        DiscretisedLogisticLikelihood,
        GaussianLikelihood,
        Likelihood,
        LogNormalLikelihood,
        MissingPixels,
        NegativeBinomialLikelihood,
        NominalLikelihood,
        OrdinalLikelihood,
        PoissonLikelihood,
        RelaxedBernoulliLikelihood,
        StudentTLikelihood,
        ZeroInflatedNegativeBinomialLikelihood,
        ZeroInflatedPoissonLikelihood,
    )
    from ppl_vae.models.likelihoods.missingness import MissingnessEncoder
    from ppl_vae.models.linear_gaussian import LinearGaussianVAE
    from ppl_vae.models.multimodal.multimodal_vae import MultimodalVAE
    from ppl_vae.models.posteriors.curved_posteriors import (
        PowerSphericalPosterior,
        VonMisesFisherPosterior,
        VonMisesPosterior,
        WrappedNormalPosterior,
    )
    from ppl_vae.models.posteriors.dais_posterior import DAISPosterior
    from ppl_vae.models.posteriors.flow_posterior import FlowPosterior
    from ppl_vae.models.posteriors.hamiltonian_posterior import HamiltonianPosterior
    from ppl_vae.models.posteriors.mixture_posterior import MixturePosterior
    from ppl_vae.models.posteriors.point_posterior import PointPosterior
    from ppl_vae.models.posteriors.posteriors import DiagonalPosterior, FullCovariancePosterior, LowRankPosterior
    from ppl_vae.models.posteriors.semi_amortised_posterior import SemiAmortisedPosterior
    from ppl_vae.models.priors.curved_priors import SphericalPrior, TorusPrior, WrappedNormalPrior
    from ppl_vae.models.priors.flat_prior import FlatPrior
    from ppl_vae.models.priors.flow_prior import FlowPrior
    from ppl_vae.models.priors.priors import DiagonalNormalPrior, MixturePrior, StandardNormalPrior
    from ppl_vae.models.priors.vamp_prior import VampPrior
    from ppl_vae.models.program_pair import ProgramPair
    from ppl_vae.models.programs import GenerativeProgram, GuideProgram
    from ppl_vae.models.stored.load import load
    from ppl_vae.models.vae import VAE
    from ppl_vae.models.vector_quantised.code_prior import AutoregressiveCodes, UniformCodes
    from ppl_vae.models.vector_quantised.codebook import Codebook, perplexity
    from ppl_vae.models.vector_quantised.residual_vq_vae import ResidualVQVAE
    from ppl_vae.models.vector_quantised.vq_vae import VQVAE

__all__ = [
    "GPVAE",
    "VAE",
    "VQVAE",
    "AdaGroupVAE",
    "AutoregressiveCodes",
    "AutoregressivePrior",
    "BayesianDecoderVAE",
    "BernoulliLikelihood",
    "BetaLikelihood",
    "CategoricalLikelihood",
    "CategoricalVAE",
    "CensoredGaussianLikelihood",
    "Codebook",
    "Columns",
    "CompletionBaseline",
    "CompletionVAE",
    "ConditionalVAE",
    "ContinuousBernoulliLikelihood",
    "CountVAE",
    "CovariateVAE",
    "DAISPosterior",
    "DeepMarkovModel",
    "DiagonalNormalPrior",
    "DiagonalPosterior",
    "DiffusionPrior",
    "DiscretisedLogisticLikelihood",
    "EncoderDecoderVAE",
    "FlatPrior",
    "FlowPosterior",
    "FlowPrior",
    "FullCovariancePosterior",
    "GaussianLikelihood",
    "GaussianMixtureVAE",
    "GenerativeProgram",
    "GroupsVAE",
    "GuideProgram",
    "HamiltonianPosterior",
    "HierarchicalVAE",
    "InvariantVAE",
    "JointVAE",
    "LadderVAE",
    "Likelihood",
    "LinearGaussianVAE",
    "LogNormalLikelihood",
    "LowRankPosterior",
    "MissingPixels",
    "MissingnessEncoder",
    "MixturePosterior",
    "MixturePrior",
    "MultimodalVAE",
    "NegativeBinomialLikelihood",
    "NoiseContrastivePrior",
    "NominalLikelihood",
    "OrdinalLikelihood",
    "PartlyObservedCategory",
    "PointPosterior",
    "PoissonLikelihood",
    "PowerSphericalPosterior",
    "ProgramPair",
    "RelaxedBernoulliLikelihood",
    "ResidualVQVAE",
    "SemiAmortisedPosterior",
    "SemiSupervisedVAE",
    "SharedContentVAE",
    "SphericalPrior",
    "StandardNormalPrior",
    "StudentTLikelihood",
    "TopicVAE",
    "TorusPrior",
    "UniformCodes",
    "VampPrior",
    "VeryDeepVAE",
    "VonMisesFisherPosterior",
    "VonMisesPosterior",
    "WrappedNormalPosterior",
    "WrappedNormalPrior",
    "ZeroInflatedNegativeBinomialLikelihood",
    "ZeroInflatedPoissonLikelihood",
    "attribute_vector",
    "decode_along",
    "latent_grid",
    "latent_map",
    "load",
    "nominal",
    "ordinal",
    "perplexity",
    "with_new_prior",
    "with_post_hoc_prior",
]

load_names_lazily(__name__)
