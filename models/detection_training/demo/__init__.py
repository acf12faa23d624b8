"""``train --demo``: small detectors in minutes."""
