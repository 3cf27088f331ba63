#!lua flags=no-writes
-- The latest events of one content in one partition, latest first.
-- KEYS[1] the partition's position; ARGV: tag, content id, how many.
local generation = redis.call('HGET', KEYS[1], 'generation')
local tag = generation and ARGV[1] .. generation .. ':' or ARGV[1]
return redis.call('ZREVRANGE', tag .. 'recent:' .. ARGV[2], 0, ARGV[3] - 1)
