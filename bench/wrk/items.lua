-- Items in random order. Arguments: the method, the first key, how many keys, and for PUT the bytes of the value.
require("report")

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

function init(arguments)
  local method, bytes = arguments[1], tonumber(arguments[4])
  first, count = tonumber(arguments[2]), tonumber(arguments[3])
  local body, headers
  if bytes then
    body, headers = '{"value":"' .. ("v"):rep(bytes) .. '"}', { ["Content-Type"] = "application/json" }
  end
  before, after = wrk.format(method, "/items/KEY", headers, body):match("^(.-)KEY(.*)$")
  requests = {}
  math.randomseed(seed)
end

-- A request is made once. Not in init: that would give the first thread a head start, which wrk counts.
function request()
  local n = math.random(0, count - 1)
  local made = requests[n]
  if not made then
    made = before .. (first + n) .. after
    requests[n] = made
  end
  return made
end
