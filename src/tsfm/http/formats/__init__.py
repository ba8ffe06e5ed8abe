"""The forms of bodies: what packs them, and the tables in them. Each knows its own form and no server."""
