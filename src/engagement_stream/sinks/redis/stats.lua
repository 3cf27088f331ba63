#!lua flags=no-writes
-- Everything that is known about one content in one partition, at one moment.
-- KEYS[1] the partition's position; ARGV: tag, now (start of its bucket, seconds), window_s, content id.
-- Answers nil for an unknown content, else {hash, window events, window ms, last event, generation}. The users are not
-- here: PFCOUNT counts as a write (it caches its estimate).
local now, window_s, id = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local state = redis.call('HMGET', KEYS[1], 'clock_us', 'generation')
local tag = state[2] and ARGV[1] .. state[2] .. ':' or ARGV[1]
local held = redis.call('HGETALL', tag .. 'content:' .. id)
if #held == 0 then return false end
local clock_us = tonumber(state[1] or 0)
local window_from = math.max(now, math.floor(clock_us / 10000000) * 10) - window_s
local events = tonumber(redis.call('ZSCORE', tag .. 'window', id) or 0)
local ms = tonumber(redis.call('HGET', tag .. 'window-ms', id) or 0)
for _, start in ipairs(redis.call('ZRANGEBYSCORE', tag .. 'buckets', '-inf', window_from)) do
  events = events - tonumber(redis.call('HGET', tag .. 'bucket:' .. start, id) or 0)
  ms = ms - tonumber(redis.call('HGET', tag .. 'bucket:' .. start, id .. ':ms') or 0)
end
local last = redis.call('ZREVRANGE', tag .. 'recent:' .. id, 0, 0)
return {held, events, string.format('%.0f', ms), last[1] or '', state[2] or ''}
