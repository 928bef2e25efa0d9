\set n random(:first, :last)
UPDATE items SET value = :value, version = version + 1, updated_at = now() WHERE key = :n RETURNING id, version, created_at, updated_at
