-- Batches of operations on items spread over all of them. Arguments: the operation, the first key, how many keys, how
-- many operations, and for put the bytes of the value.
require("report")

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

function init(arguments)
  operation, operations, bytes = arguments[1], tonumber(arguments[4]), tonumber(arguments[5])
  first, count = tonumber(arguments[2]), tonumber(arguments[3])
  apart = math.floor(count / operations)
  requests = {}
  math.randomseed(seed)
end

local function made(n)
  local value = bytes and ',"value":"' .. ("v"):rep(bytes) .. '"' or ""
  local each = {}
  for i = 0, operations - 1 do
    each[#each + 1] = string.format('{"op":"%s","key":"%d"%s}', operation, first + n + i * apart, value)
  end
  local body = '{"operations":[' .. table.concat(each, ",") .. "]}"
  return wrk.format("POST", "/batch", { ["Content-Type"] = "application/json" }, body)
end

-- A request is made once. Not in init: that would give the first thread a head start, which wrk counts.
function request()
  local n = math.random(0, apart - 1)
  requests[n] = requests[n] or made(n)
  return requests[n]
end
