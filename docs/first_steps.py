import ppl_vae as pv
from ppl_vae.models import latent_grid

ds = pv.load_dataset("digits")  # 8x8 grey images, embedded
network = {"name": "mlp", "hidden": [200, 100], "activation": "relu"}
noise = {"name": "gaussian", "sigma": "learned"}
vae = pv.VAE(ds.event_shape, latent_dim=2, network=network, likelihood=noise)
result = pv.fit(vae, ds, epochs=150, batch_size=64, lr=3e-3)
evidence = pv.log_evidence(vae, ds.test.x, num_samples=1000)
codes = pv.plots.plot_latent_scatter(vae.encode(ds.test.x).mean, ds.test.y)
manifold = pv.plots.plot_manifold(vae.decode(latent_grid(12, 12)).mean)
