"""Galaxies along the Hubble sequence as light in three bands, for cutouts one by one.

The means follow what is known of nearby galaxies: towards later types bulges shrink, arms open and
break into knots, colors turn blue (Buta 2013, "Galaxy Morphology", arXiv:1304.3529; Graham and
Worley 2008, MNRAS 388, 1708, for the share of the bulge; Fukugita et al. 1995, PASP 107, 945, for
colors). The scatter is wide, so that no parameter gives away another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elodin_spark.datasets.shapes import Grid, Plane, bands, cloud, sersic, unit, winding

#: Hubble stage T of Sm galaxies and of the latest irregulars; S0 end and spirals begin near 0.
_SPIRALS_FROM, _IRREGULARS_FROM = -0.5, 8.5


@dataclass(frozen=True)
class Galaxy:
    """What a galaxy is made of.

    Attributes
    ----------
    stage : float
        Hubble stage T, -6 (cE) to 10 (Im).
    radius : float
        Half-light radius of the disk, or of an elliptical, in half sides of the cutout.
    q : float
        Axis ratio of the disk or of the elliptical as seen.
    angle : float
        Of the major axis, rad.
    bulge : float
        Share of the light in the bulge; 1 for ellipticals.
    sersic_n : float
        Index of the bulge, or of the elliptical.
    arms, bar, knots, dust : float
        Strengths between 0 and 1; knots and arms of the light of the disk.
    arm_count : int
    pitch : float
        Of the arms, rad.
    hand : int
        +1 or -1, the sense in which the arms wind.
    g_r, r_i : float
        Colors of the bulge, AB mag.
    disk_g_r, disk_r_i : float
        Colors of the disk, AB mag.
    """

    stage: float
    radius: float
    q: float
    angle: float
    bulge: float
    sersic_n: float
    arms: float
    bar: float
    knots: float
    dust: float
    arm_count: int
    pitch: float
    hand: int
    g_r: float
    r_i: float
    disk_g_r: float
    disk_r_i: float

    @classmethod
    def draw(cls, rng: np.random.Generator, stage: float, radius: float, dwarf: bool = False) -> Galaxy:
        """Draw a galaxy of a stage, and of a size as large as it is wanted.

        A `dwarf` elliptical is nearly exponential and bluer (Graham and Guzman 2003, AJ 125, 2936).
        """
        late = float(np.clip((stage + 1) / 10, 0, 1))
        spiral = stage > _SPIRALS_FROM
        elliptical = stage < -3.5
        thickness = 0.12 + 0.1 * rng.random()
        cosine = rng.uniform(0, 1)
        q = float(rng.uniform(0.45, 1.0) if elliptical else np.hypot(cosine, thickness * (1 - cosine)))
        bulge = 1.0 if elliptical else float(np.clip(0.55 * (1 - late) ** 2 + rng.normal(0, 0.08), 0, 0.85))
        red = rng.normal(0.78, 0.05)
        blue = 0.72 - 0.45 * late + rng.normal(0, 0.08)
        irregular = stage > _IRREGULARS_FROM
        return cls(
            stage=stage,
            radius=radius,
            q=max(q, 0.1),
            angle=rng.uniform(0, np.pi),
            bulge=bulge,
            sersic_n=float(
                rng.uniform(0.8, 1.6) if dwarf else np.clip(4.2 - 3 * late + rng.normal(0, 0.6), 0.8, 6)
            ),
            arms=float(np.clip(rng.normal(0.65, 0.2), 0.1, 1)) * (0.4 if irregular else 1.0)
            if spiral
            else 0.0,
            bar=float(rng.uniform(0.1, 0.5)) if not elliptical and rng.random() < 0.45 else 0.0,
            knots=float(np.clip(late * rng.uniform(0.1, 0.9), 0, 1)) if spiral else 0.0,
            dust=float(rng.uniform(0.2, 0.9)) if -2 < stage < 7 and q < 0.35 and rng.random() < 0.7 else 0.0,
            arm_count=int(rng.choice([2, 2, 2, 3, 4])),
            pitch=float(np.radians(np.clip(8 + 22 * late + rng.normal(0, 4), 5, 42))),
            hand=int(rng.choice([-1, 1])),
            g_r=float(red - (0.25 if dwarf else 0.0)),
            r_i=float(rng.normal(0.40, 0.03) - (0.12 if dwarf else 0.0)),
            disk_g_r=float(blue),
            disk_r_i=float(0.4 * blue + 0.08 + rng.normal(0, 0.03)),
        )

    def light(self, grid: Grid, rng: np.random.Generator, x: float = 0.0, y: float = 0.0) -> Plane:
        """Its light before the PSF.

        Parameters
        ----------
        grid : Grid
        rng : numpy.random.Generator
            Scatters knots.
        x, y : float
            Its middle.

        Returns
        -------
        ndarray of float32, shape (3, px, px)
            In g, r and i; the whole of r is about 1.
        """
        disk_radius = self.radius if self.bulge == 1 else self.radius * (0.2 + 0.35 * self.bulge)
        bulge_q = self.q if self.bulge == 1 else 0.45 + 0.55 * self.q
        center = unit(sersic(grid, x, y, self.sersic_n, disk_radius, bulge_q, self.angle))
        planes = self.bulge * center * bands(self.g_r, self.r_i)
        if self.bulge < 1:
            old, young = self._disk(grid, rng, x, y)
            share = np.float32(0.5 * self.knots)
            disk = (1 - share) * unit(old) * bands(self.disk_g_r, self.disk_r_i)
            disk += share * unit(young) * bands(self.disk_g_r - 0.35, self.disk_r_i - 0.2)
            planes = planes + (1 - self.bulge) * disk
        if self.dust:
            along, across = grid.inclined(1.0, self.angle, x, y)
            depth = self.dust * np.exp(-0.5 * (across / (0.06 * self.radius)) ** 2)
            depth *= np.exp(-0.5 * (along / (0.9 * self.radius)) ** 2)
            planes = planes * np.exp(-depth * np.array([1.9, 1.4, 1.0], np.float32)[:, None, None])
        return planes.astype(np.float32)

    def _disk(self, grid: Grid, rng: np.random.Generator, x: float, y: float) -> tuple[Plane, Plane]:
        # Older and younger stars: the younger gather in knots along the arms.
        scale = self.radius / 1.678
        u, v = grid.inclined(self.q, self.angle, x, y)
        r = np.hypot(u, v) + np.float32(1e-3)
        theta = np.arctan2(v, u)
        disk = np.exp(-r / scale)
        start = rng.uniform(0, 2 * np.pi)
        inner = 0.35 * self.radius
        wound = winding(r / inner, self.pitch, self.hand)
        # Flocculent arms lose their phase with radius.
        lost = rng.normal(0, 0.5) * np.sin(theta + start) * self.knots
        ridge = np.exp(3.0 * (np.cos(self.arm_count * (theta - wound) - start + lost) - 1))
        ramp = np.clip((r - 0.5 * inner) / inner, 0, 1)
        old = disk * (1 + self.arms * ramp * (3.5 * ridge - 0.9))
        if self.bar:
            turned = start / self.arm_count
            a = u * np.cos(turned) + v * np.sin(turned)
            b = v * np.cos(turned) - u * np.sin(turned)
            bar = np.exp(-((np.abs(a) / (0.55 * self.radius)) ** 3) - (b / (0.14 * self.radius)) ** 2)
            old = unit(old) * (1 - 0.5 * self.bar) + 0.5 * self.bar * unit(bar)
        if not self.knots:
            return old, old
        count = int(rng.integers(8, 60))
        reach = self.radius * rng.uniform(0.3, 2.1, count)
        phase = rng.uniform(0, 2 * np.pi, count)
        if self.arms > 0.3:
            arm = rng.integers(0, self.arm_count, count)
            phase = (start + 2 * np.pi * arm) / self.arm_count + winding(reach / inner, self.pitch, self.hand)
            phase += rng.normal(0, 0.12, count)
        ku, kv = reach * np.cos(phase), self.q * reach * np.sin(phase)
        c, s = np.cos(self.angle), np.sin(self.angle)
        weight = rng.lognormal(0, 0.7, count) * np.exp(-reach / (1.6 * scale))
        sigma = self.radius * rng.uniform(0.03, 0.14, count)
        knots = grid.blobs(x + ku * c - kv * s, y + ku * s + kv * c, sigma, weight)
        return old, unit(knots) + 0.4 * unit(disk * (0.3 + self.arms * ramp * ridge))


def irregular(grid: Grid, rng: np.random.Generator, radius: float) -> Plane:
    """Light of a galaxy without symmetry, shape (3, px, px): clouds of stars, bluer where younger."""
    q, angle = rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
    wide = int(rng.integers(4, 10))
    body = grid.blobs(
        *cloud(rng, wide, 0.8 * radius, q, angle),
        rng.uniform(0.25, 0.5, wide) * radius,
        rng.uniform(0.2, 1, wide),
    )
    count = int(rng.integers(3, 25))
    young = grid.blobs(
        *cloud(rng, count, 1.1 * radius, q, angle),
        rng.uniform(0.04, 0.16, count) * radius,
        rng.lognormal(0, 0.8, count),
    )
    share = np.float32(rng.uniform(0.1, 0.5))
    g_r, r_i = rng.normal(0.35, 0.1), rng.normal(0.15, 0.06)
    planes = (1 - share) * unit(body) * bands(g_r, r_i)
    return planes + share * unit(young) * bands(g_r - 0.35, r_i - 0.25)
