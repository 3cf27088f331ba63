#!lua flags=no-writes
-- The totals of one partition: field, value, ...
-- KEYS[1] the partition's position; ARGV: tag.
local generation = redis.call('HGET', KEYS[1], 'generation')
local tag = generation and ARGV[1] .. generation .. ':' or ARGV[1]
return redis.call('HGETALL', tag .. 'totals')
