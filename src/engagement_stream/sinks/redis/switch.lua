#!lua
-- Puts a finished generation in the place of the present one, with its fence: readers see the one or the other.
-- KEYS[1] the partition's position; ARGV: tag, generation, pieces written, then fields of the position and their values.
-- Answers OK; TAKEN another rebuild has begun since (or everything was deleted); LOST the server forgot some pieces.
if redis.call('HGET', KEYS[1], 'generation') == ARGV[2] then return 'OK' end
if redis.call('HGET', KEYS[1], 'rebuilding') ~= ARGV[2] then return 'TAKEN' end
local pieces = ARGV[1] .. ARGV[2] .. ':pieces'
if tonumber(redis.call('GET', pieces) or 0) ~= tonumber(ARGV[3]) then return 'LOST' end
redis.call('HSET', KEYS[1], 'generation', ARGV[2], unpack(ARGV, 4))
redis.call('HDEL', KEYS[1], 'rebuilding', 'applying')
redis.call('UNLINK', pieces)
return 'OK'
