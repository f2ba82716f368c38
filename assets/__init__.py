"""Asset packs: the objects, receptacles, pictures and robot an episode is built from."""
