#!lua
-- Applies one batch of one partition and moves its fence, both or neither.
-- KEYS[1] the partition's position; ARGV: tag, prev, end, window_s, recent_events, payload (fold.py packs it).
-- Answers {verdict, fence}: OK applied; DUP applied before; TRIM applied up to the fence, send the rest;
-- GAP what lies before is missing here; TORN an earlier run broke off in the middle.
local tag, prev, stop = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local window_s, keep = tonumber(ARGV[4]), tonumber(ARGV[5])

local state = redis.call('HMGET', KEYS[1], 'fence', 'clock_us', 'applying')
local fence = tonumber(state[1] or 0)
if state[3] then return {'TORN', fence} end
if fence ~= prev then
  if fence >= stop then return {'DUP', fence} end
  if fence > prev then return {'TRIM', fence} end
  return {'GAP', fence}
end

local batch = cmsgpack.unpack(ARGV[6])
-- Scripts do not roll back. Nothing below is expected to fail (the batch was checked before it was packed); should it
-- fail all the same, over a key of somebody else's say, this mark stays and nothing is ever applied twice.
redis.call('HSET', KEYS[1], 'applying', ARGV[3])

local counters = {'events', 'play', 'pause', 'finish', 'click', 'untyped', 'ms', 'timed'}
local clock_us = math.max(tonumber(state[2] or 0), batch[1])
local window_from = math.floor(clock_us / 10000000) * 10 - window_s
local buckets, window, window_ms = tag .. 'buckets', tag .. 'window', tag .. 'window-ms'

-- Take what left the window out of the running sums. A batch pays for whole buckets up to a budget, so that one after a
-- long pause does not block the server; what stays over is passed over by readers and paid for by the next batch.
local function let_go()
  local stale = redis.call('ZRANGEBYSCORE', buckets, '-inf', window_from)
  if #stale == 0 then return end
  if #stale == redis.call('ZCARD', buckets) then
    redis.call('UNLINK', window, window_ms, buckets)
    for _, start in ipairs(stale) do redis.call('UNLINK', tag .. 'bucket:' .. start) end
    return
  end
  local budget = 5000
  for _, start in ipairs(stale) do
    if budget <= 0 then return end
    local held = redis.call('HGETALL', tag .. 'bucket:' .. start)
    local gone = {}
    for i = 1, #held, 2 do
      local content, amount = held[i], tonumber(held[i + 1])
      if string.sub(content, -3) == ':ms' then
        redis.call('HINCRBY', window_ms, string.sub(content, 1, -4), -amount)
      elseif tonumber(redis.call('ZINCRBY', window, -amount, content)) <= 0 then
        gone[#gone + 1] = content
      end
    end
    for _, content in ipairs(gone) do -- who left with the last event leaves no zero behind
      redis.call('ZREM', window, content)
      redis.call('HDEL', window_ms, content)
    end
    redis.call('UNLINK', tag .. 'bucket:' .. start)
    redis.call('ZREM', buckets, start)
    budget = budget - #held / 2
  end
end
let_go()

local bucket_seen = {}
for _, content in ipairs(batch[3]) do
  local id, added, description, users, recent, seen = unpack(content)
  local key = tag .. 'content:' .. id
  local known = redis.call('HMGET', key, 'events', 'play', 'pause', 'finish', 'click', 'untyped', 'ms', 'timed', 'as_of')
  local set = {}
  for i, name in ipairs(counters) do
    if added[i] ~= 0 or not known[i] then
      set[#set + 1] = name
      set[#set + 1] = tonumber(known[i] or 0) + added[i]
    end
  end
  if description[1] and description[1] >= (known[9] or '') then
    for i, name in ipairs({'as_of', 'title', 'slug', 'content_type'}) do
      set[#set + 1] = name
      set[#set + 1] = description[i]
    end
  end
  redis.call('HSET', key, unpack(set))
  if #users > 0 then redis.call('PFADD', tag .. 'users:' .. id, unpack(users)) end
  local members = {}
  for _, member in ipairs(recent) do
    members[#members + 1] = 0
    members[#members + 1] = member
  end
  redis.call('ZADD', tag .. 'recent:' .. id, unpack(members))
  if added[1] + tonumber(known[1] or 0) > keep then
    redis.call('ZREMRANGEBYRANK', tag .. 'recent:' .. id, 0, -keep - 1)
  end
  local events, ms = 0, 0
  for _, part in ipairs(seen) do
    local start = part[1]
    if start > window_from then
      local bucket = tag .. 'bucket:' .. start
      if not bucket_seen[start] then
        redis.call('ZADD', buckets, start, start)
        bucket_seen[start] = true
      end
      redis.call('HINCRBY', bucket, id, part[2])
      if part[3] ~= 0 then redis.call('HINCRBY', bucket, id .. ':ms', part[3]) end
      events, ms = events + part[2], ms + part[3]
    end
  end
  if events > 0 then
    redis.call('ZINCRBY', window, events, id)
    if ms ~= 0 then redis.call('HINCRBY', window_ms, id, ms) end
  end
end

local totals = batch[2]
for i, name in ipairs(counters) do
  if totals[1][i] ~= 0 then redis.call('HINCRBY', tag .. 'totals', name, totals[1][i]) end
end
for i, name in ipairs({'no_content', 'future', 'dead_letters'}) do
  if totals[i + 1] ~= 0 then redis.call('HINCRBY', tag .. 'totals', name, totals[i + 1]) end
end

redis.call('HSET', KEYS[1], 'fence', ARGV[3], 'clock_us', clock_us)
redis.call('HDEL', KEYS[1], 'applying')
return {'OK', stop}
