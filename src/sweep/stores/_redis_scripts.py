"""What runs inside the Redis server, as Lua: each script is one atomic step of the store.

The rules of this file: a script either refuses before its first write or does all of its writes; all its keys are in the slot of
one sweep (`{ID}`), so that Redis Cluster can run it; time is the server's own (`TIME`). A lease is a field of a hash:
`token|expires|ttl|nonce|holder`, times in microseconds.
"""

from __future__ import annotations

import hashlib


class Script:
    """A script's text, and the name by which the server knows it."""

    def __init__(self, body: str) -> None:
        self.text = (_SHARED + body).encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


_SHARED = """
local function now_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local function whole(x) return string.format('%.0f', x) end
local function held(key, name, now)
  local v = redis.call('HGET', key, name)
  if not v then return nil end
  local token, expires, ttl, nonce, holder = string.match(v, '^(%d+)|(%d+)|(%d+)|(%w*)|(.*)$')
  if tonumber(expires) <= now then return nil end
  return {token = token, expires = expires, nonce = nonce, holder = holder}
end
local function holds(key, name, token, holder, now)
  local h = held(key, name, now)
  return h and h.token == token and h.holder == holder and h or nil
end
local function give(key, name, token, now, ttl, nonce, holder)
  local expires = whole(now + tonumber(ttl))
  redis.call('HSET', key, name, token .. '|' .. expires .. '|' .. ttl .. '|' .. nonce .. '|' .. holder)
  return expires
end
local function set_all(key, fields)  -- names and values in turn; few enough at a time for Lua's stack
  for i = 1, #fields, 1000 do redis.call('HSET', key, unpack(fields, i, math.min(i + 999, #fields))) end
end
"""

TOKEN_FIELD = b"#token"
"""Where a hash of leases counts its fencing tokens; every acquisition of any of them gets the next one."""

# --- leases: KEYS 1 the hash; ARGV 1 name

ACQUIRE = Script("""
local key, name, holder, ttl, nonce = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = now_us()
local h = held(key, name, now)
if h and h.nonce == nonce then return {1, h.token, h.expires, whole(now)} end  -- asked again: the answer was lost
if h then return {0, '0', '0', whole(now)} end
if redis.call('HLEN', key) > 256 then  -- agents that vanished leave theirs behind
  for _, other in ipairs(redis.call('HKEYS', key)) do
    if other ~= '#token' and not held(key, other, now) then redis.call('HDEL', key, other) end
  end
end
local token = whole(redis.call('HINCRBY', key, '#token', 1))
local expires = give(key, name, token, now, ttl, nonce, holder)
redis.call('PERSIST', key)
return {1, token, expires, whole(now)}
""")

RENEW = Script("""
local now = now_us()
local h = holds(KEYS[1], ARGV[1], ARGV[3], ARGV[2], now)
if not h then return {0, '0', whole(now)} end
return {1, give(KEYS[1], ARGV[1], h.token, now, ARGV[4], h.nonce, h.holder), whole(now)}
""")

RELEASE = Script("""
if holds(KEYS[1], ARGV[1], ARGV[3], ARGV[2], now_us()) then redis.call('HDEL', KEYS[1], ARGV[1]) end
return 1
""")

LEASES = Script("""
return {whole(now_us()), redis.call('HGETALL', KEYS[1])}
""")

# --- journal
# The last entries stand in the stream `log`, entry N under the ID N-0; older ones, up to meta.packed, in the stream `segs` in
# compressed segments, each under the ID of its last entry. `to` has each addressee's positions, 4 bytes each: those that are not
# packed, and the last one.

HOLD_US = 20_000
"""For so long at most the appends of others wait when a controller's was overtaken, until it has come: else it might never
decide, and would decide in vain again and again."""

TOLD_BYTES = 65_536
"""What has more is not told whole: whoever hears of it reads it."""

TOLD_ENTRIES = 64
"""So many at most are told to a controller that was overtaken by them."""

APPEND = Script(
    f"""
local hold_us, told_bytes, told_entries = {HOLD_US}, {TOLD_BYTES}, {TOLD_ENTRIES}
"""
    + """
local meta, log, writers, to, ix, rows, fences = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local known, existing, fence, token, holder, after, writer, first, at, upto, eager, pack_at, concerns_all, entries, addressed, changed
  = unpack(cmsgpack.unpack(ARGV[1]))
local count = #entries
local now = now_us()
if token ~= '' and not holds(fences, fence, token, holder, now) then return {'stale'} end
local head = redis.call('HMGET', meta, 'p', 'at', 'packed', 'upto', 'claim', 'hold', 'version')
local position, packed = tonumber(head[1] or 0), tonumber(head[3] or 0)
if position == 0 and (existing or after and after > 0) then return {'gone'} end
local skip = 0
if count > 0 then
  local had = tonumber(redis.call('HGET', writers, writer) or 0)
  if existing and token == '' and had + 1 < first then return {'lost', had} end
  skip = math.min(count, math.max(0, had - first + 1))
end
if after and after ~= position and not (count > 0 and skip == count) then
  if token ~= '' then redis.call('HSET', meta, 'hold', whole(now + hold_us)) end
  local near = after >= packed and position - after <= told_entries
  return {'moved', position, near and redis.call('XRANGE', log, whole(after + 1) .. '-0', '+') or {}}
end
if count == 0 and upto and upto > position then return {'moved', position, {}} end  -- entries were lost
if head[6] then
  if token ~= '' then
    redis.call('HDEL', meta, 'hold')
  elseif not eager and now < tonumber(head[6]) and tonumber(head[6]) <= now + hold_us then
    return {'wait', tonumber(head[6]) - now}
  end
end
if position == 0 and skip < count and not known then return {'new'} end
if not at then at = string.format('%d.%06d', math.floor(now / 1000000), now % 1000000) end
if head[2] and tonumber(head[2]) > tonumber(at) then at = head[2] end
for i = skip + 1, count do
  redis.call('XADD', log, (position + i - skip) .. '-0', 'e', entries[i], 't', at)
end
local last = position + count - skip
if last > position then
  redis.call('HSET', meta, 'p', last, 'at', at)
  redis.call('HSET', writers, writer, whole(first + count - 1))
end
local told = {}
local function entry(index)  -- as it is told: its position, its length, itself
  return struct.pack('>I4I4', position + index - skip, #entries[index]) .. entries[index]
end
for i = 1, #addressed, 2 do
  local index, name = addressed[i], addressed[i + 1]
  if index > skip then
    local there = redis.call('HGET', to, name) or ''
    redis.call('HSET', to, name, there .. struct.pack('>I4', position + index - skip))
    if not told[name] then
      local before = there ~= '' and string.sub(there, -4) or struct.pack('>I4', 0)
      told[name] = {before .. struct.pack('>I4I4I4', last, position, #at) .. at}
    end
    table.insert(told[name], entry(index))
  end
end
local channels = string.sub(meta, 1, -5)
local function tell(channel, parts)
  local what = table.concat(parts)
  redis.pcall('PUBLISH', channels .. channel, #what <= told_bytes and what or '')  -- pcall: it may be forbidden
end
for name, parts in pairs(told) do tell('to:' .. name, parts) end
if token == '' and last > position then
  local parts = {struct.pack('>I4', #at) .. at}
  for i = skip + 1, count do parts[#parts + 1] = entry(i) end
  tell('events', parts)
end
local hot = 0
if upto and upto >= tonumber(head[4] or 0) then
  local runs, others = {}, {}
  for i = 1, #changed, 2 do
    local some = string.sub(changed[i], 1, 4) == 'run/' and runs or others
    some[#some + 1] = changed[i]
    some[#some + 1] = changed[i + 1]
  end
  set_all(rows, runs)
  set_all(ix, others)
  redis.call('HSET', meta, 'upto', upto, 'version', whole(tonumber(head[7] or 0) + 1))
end
if upto then hot = redis.call('HLEN', rows) end
if concerns_all then redis.pcall('PUBLISH', channels .. 'all', '') end
local pack = 0
if last - packed >= pack_at and tonumber(head[5] or 0) <= now then  -- one of all those who append does it
  redis.call('HSET', meta, 'claim', whole(now + 5000000))
  pack = 1
end
return {'ok', position, at, skip, pack, hot}
"""
)

_ADDRESSED = """
local function addressed_to(addressee, after, limit, packed)
  local log, segs, to = KEYS[2], KEYS[3], KEYS[4]
  local old, new = {}, {}
  local list = redis.call('HGET', to, addressee)
  if not list or struct.unpack('>I4', list, #list - 3) <= after then return old, new end
  if after < packed then old = redis.call('XRANGE', segs, (after + 1) .. '-0', '+') end
  local from = math.max(after, packed)
  for i = 1, #list, 4 do
    local at = struct.unpack('>I4', list, i)
    if at > from then
      if limit >= 0 and #new >= limit then break end
      local found = redis.call('XRANGE', log, at .. '-0', at .. '-0')
      new[#new + 1] = found[1]
    end
  end
  return old, new
end
"""

LOOK = Script(
    _ADDRESSED
    + """
local head = redis.call('HMGET', KEYS[1], 'packed', 'upto', 'p')
local old, new = addressed_to(ARGV[2], tonumber(ARGV[1]), -1, tonumber(head[1] or 0))
return {old, new, head[2] or '0', head[3] or '0', redis.call('HGET', KEYS[5], ARGV[3])}
"""
)

READ = Script(
    _ADDRESSED
    + """
local meta, log, segs, to = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local after, limit, addressee = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local head = redis.call('HMGET', meta, 'p', 'packed')
local position, packed = tonumber(head[1] or 0), tonumber(head[2] or 0)
local old, new = {}, {}
if position <= after then return {position, old, new} end
if ARGV[4] == '1' then
  old, new = addressed_to(addressee, after, limit, packed)
  return {position, old, new}
end
local count = 0
if after < packed then
  local from = after
  while from < packed and (limit < 0 or count < limit) do
    local step = redis.call('XRANGE', segs, (from + 1) .. '-0', '+', 'COUNT', limit < 0 and 100000 or 1)
    for _, segment in ipairs(step) do
      old[#old + 1] = segment
      local last = tonumber(string.match(segment[1], '^%d+'))
      count = count + last - from
      from = last
    end
    if #step == 0 then break end
  end
end
local from = math.max(after, packed) + 1
if limit < 0 then
  new = redis.call('XRANGE', log, from .. '-0', '+')
elseif count < limit then
  new = redis.call('XRANGE', log, from .. '-0', '+', 'COUNT', limit - count)
end
return {position, old, new}
"""
)

PACK = Script("""
local meta, log, segs, to = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local packed, replaces, last, blob = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local head = redis.call('HMGET', meta, 'p', 'packed')
if (head[2] or '0') ~= packed or tonumber(head[1] or 0) < last then return 0 end
if replaces ~= '' and redis.call('XDEL', segs, replaces .. '-0') ~= 1 then return 0 end
redis.call('XADD', segs, last .. '-0', 's', blob)
redis.call('XTRIM', log, 'MINID', (last + 1) .. '-0')
redis.call('HSET', meta, 'packed', last)
redis.call('HDEL', meta, 'claim')
local all = redis.call('HGETALL', to)
for i = 1, #all, 2 do
  local list, from = all[i + 1], 1
  while from < #list - 3 and struct.unpack('>I4', list, from) <= last do from = from + 4 end
  if from > 1 then redis.call('HSET', to, all[i], string.sub(list, from)) end
end
return 1
""")

# --- index

READ_INDEX = Script("""
local meta, ix, rows, blocks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, what, block = ARGV[1], ARGV[2], ARGV[3]
local upto = redis.call('HGET', meta, 'upto') or '0'
if what == 'one' then
  local row = redis.call('HGET', rows, prefix)
  if row then return {upto, {prefix, row}, {}} end
  local packed = redis.call('HGET', blocks, block)
  return {upto, {}, packed and {block, packed} or {}}
end
local found = {}
if what ~= 'runs' then
  for _, key in ipairs(redis.call('HKEYS', ix)) do
    if string.sub(key, 1, #prefix) == prefix then
      found[#found + 1] = key
      found[#found + 1] = redis.call('HGET', ix, key)
    end
  end
end
if what == 'few' then return {upto, found, {}} end
for _, part in ipairs(redis.call('HGETALL', rows)) do found[#found + 1] = part end
return {upto, found, redis.call('HGETALL', blocks)}
""")

WRITE_INDEX = Script("""
local meta, ix, rows, blocks = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
redis.call('DEL', ix, rows, blocks)
local runs, others = {}, {}
for i = 2, #ARGV, 2 do
  local some = string.sub(ARGV[i], 1, 4) == 'run/' and runs or others
  some[#some + 1] = ARGV[i]
  some[#some + 1] = ARGV[i + 1]
end
set_all(rows, runs)
set_all(ix, others)
redis.call('HSET', meta, 'upto', ARGV[1])
redis.call('HINCRBY', meta, 'version', 1)
return redis.call('HLEN', rows)
""")

HOT_ROWS = Script("""
return {redis.call('HGET', KEYS[1], 'version') or '0', redis.call('HGETALL', KEYS[2])}
""")

PACK_ROWS = Script("""
local meta, rows, blocks = KEYS[1], KEYS[2], KEYS[3]
if (redis.call('HGET', meta, 'version') or '0') ~= ARGV[1] then return 0 end
local count = tonumber(ARGV[2])
for i = 0, count - 1 do redis.call('HSET', blocks, ARGV[3 + 2 * i], ARGV[4 + 2 * i]) end
for i = 3 + 2 * count, #ARGV do redis.call('HDEL', rows, ARGV[i]) end
return 1
""")

# --- history
# Rows of a run stand in a hash of its own, a chunk a field: `attempt.first.count`, with `n<attempt>` for the end of the attempt's
# rows. When its attempt has ended they move, with those of other runs, into a compressed block; `hp` says into which.

APPEND_HISTORY = Script("""
local meta, runs = KEYS[1], (#KEYS - 1) / 2
local refused, highest, late = {}, -1, {}
for i = 0, runs - 1 do
  local here, packed = KEYS[2 + 2 * i], KEYS[3 + 2 * i]
  local run, attempt, first, count = ARGV[5 * i + 1], ARGV[5 * i + 2], tonumber(ARGV[5 * i + 3]), tonumber(ARGV[5 * i + 4])
  local checked = string.sub(ARGV[5 * i + 5], 1, 1) == '1'
  local next = redis.call('HGET', here, 'n' .. attempt)
  local free = checked
  if not free then
    if next then free = first >= tonumber(next) else free = not redis.call('HGET', packed, run) end
  end
  if free and not late[here .. attempt] then
    redis.call('HSET', here, attempt .. '.' .. whole(first) .. '.' .. whole(count), string.sub(ARGV[5 * i + 5], 2))
    if first + count > tonumber(next or 0) then redis.call('HSET', here, 'n' .. attempt, whole(first + count)) end
    highest = math.max(highest, tonumber(run))
  else
    refused[#refused + 1] = i
    late[here .. attempt] = true  -- what comes behind it must not overtake it
  end
end
if highest > tonumber(redis.call('HGET', meta, 'hmax') or -1) then redis.call('HSET', meta, 'hmax', whole(highest)) end
return refused
""")

READ_HISTORY = Script("""
local blocks = redis.call('HGET', KEYS[2], ARGV[1])
local packed = {}
if blocks then
  for block in string.gmatch(blocks, '%d+') do packed[#packed + 1] = redis.call('HGET', KEYS[3], block) end
end
return {redis.call('HGETALL', KEYS[1]), packed}
""")

OPEN_HISTORY = Script("""
local found, total = {}, 0
for i = 1, #KEYS do  -- as many as fit into an answer; what is huge stays where it is
  local size = redis.call('MEMORY', 'USAGE', KEYS[i]) or 0
  if total > 0 and total + size > tonumber(ARGV[1]) then break end
  found[i] = size <= tonumber(ARGV[2]) and redis.call('HGETALL', KEYS[i]) or {}
  total = total + size
end
return found
""")

PACK_HISTORY = Script("""
local meta, hb, runs = KEYS[1], KEYS[2], (#KEYS - 2) / 2
for i = 0, runs - 1 do
  if redis.call('HLEN', KEYS[3 + 2 * i]) ~= tonumber(ARGV[3 + 2 * i]) then return 0 end
end
local block = whole(redis.call('HINCRBY', meta, 'blocks', 1))
redis.call('HSET', hb, block, ARGV[1])
for i = 0, runs - 1 do
  local run, hp = ARGV[2 + 2 * i], KEYS[4 + 2 * i]
  local before = redis.call('HGET', hp, run)
  redis.call('HSET', hp, run, before and (before .. ',' .. block) or block)
  redis.call('UNLINK', KEYS[3 + 2 * i])
end
return 1
""")

# --- sweeps

REGISTER = Script("""
redis.call('HSETNX', KEYS[2], 'format', ARGV[2])
redis.call('ZADD', KEYS[1], whole(redis.call('HINCRBY', KEYS[2], 'created', 1)), ARGV[1])
return redis.call('HGET', KEYS[2], 'format')
""")

DELETE_SWEEP = Script("""
local meta, prefix = KEYS[1], ARGV[1]
local runs = tonumber(redis.call('HGET', meta, 'hmax') or -1)
for i = 0, runs do redis.call('UNLINK', prefix .. 'h:' .. whole(i)) end
for i = 0, math.floor(runs / 128) do redis.call('UNLINK', prefix .. 'hp:' .. whole(i)) end
redis.call('PEXPIRE', KEYS[2], 86400000)
for i = 3, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('UNLINK', meta)
return 1
""")
