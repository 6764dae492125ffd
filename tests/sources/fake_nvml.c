/* A driver's library that tests pull the strings of: NVML for up to 32 GPUs whose power is a function
 * of time. It stands in for libnvidia-ml.so.1 and is told what to do by the file beside it, `<library>.control`,
 * an array of 64-bit words that both sides map (driver.rs writes it). Each function that is called is noted once,
 * by name, in `<library>.calls`. What only a program that changes or profiles GPUs would call is there too: to
 * be noted, and to fail.
 *
 * Power is a sum of square waves, the counter their integral in closed form; both by CLOCK_BOOTTIME, or by the
 * control file's own clock if that is set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
enum { DOUBLE = 0, UNSIGNED_INT = 1, UNSIGNED_LONG_LONG = 3 };
enum { GPUS = 32, WAVES = 3 };

/* The places of a call's error code; driver.rs has the same list. */
enum call {
    HANDLE, UUID, LIMITS, MIG, PERSISTENCE, FIELDS, ENERGY_FIELD, AVERAGE_FIELD, INSTANT_FIELD, ENERGY_CALL,
    POWER_CALL, MODULE_FIELD, CALLS
};

struct wave { uint64_t from_ns, to_ns, half_ns, high_mw, low_mw; };

struct gpu {
    uint64_t errors[16];
    uint64_t base_mj;          /* the counter before all waves */
    uint64_t reset_at_ns;      /* from here on the counter counts anew; never if zero */
    uint64_t step_ns;          /* how often the counter is renewed */
    uint64_t permille;         /* how much of the energy the counter sees; all of it if zero */
    uint64_t raw_power;        /* the power's bits, if not zero */
    uint64_t raw_energy;       /* the counter's bits, if not zero */
    uint64_t power_type;       /* the type that the powers claim to be, plus one, if not zero */
    uint64_t energy_type;
    uint64_t hang_ms;          /* how long a look takes */
    uint64_t mig, persistent, limit_mw, c2c_links, module_mw;
    uint64_t looks;            /* written here: how often the GPU was looked at */
    uint64_t raw_instant;      /* the instant power's bits, if not zero */
    uint64_t unused;
    struct wave waves[WAVES];
    uint64_t fill[16];
};

struct control {
    uint64_t gpus, init_error, driver_error, now_ns;
    char version[32];
    uint64_t order[GPUS];      /* which GPU has number n */
    uint64_t fill[8];
    struct gpu gpu[GPUS];
};

static volatile struct control *control;
static char path[4096];
static int sessions;

static void find(void)
{
    Dl_info self;
    char name[4200];
    if (control != NULL || dladdr((void *)find, &self) == 0)
        return;
    snprintf(path, sizeof path, "%s", self.dli_fname);
    snprintf(name, sizeof name, "%s.control", path);
    int file = open(name, O_RDWR | O_CLOEXEC);
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED)
        control = mapped;
    close(file);
}

static void note(const char *function)
{
    char name[4200], line[128];
    find();
    snprintf(name, sizeof name, "%s.calls", path);
    int file = open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    int length = snprintf(line, sizeof line, "%s\n", function);
    if (file < 0 || write(file, line, length) != length)
        control = NULL; /* a call that cannot be noted must not pass */
    close(file);
}

#define NOTE() do { static int noted; if (!noted) { noted = 1; note(__func__); } } while (0)

/* Each function begins so: noted, and failing as the whole driver does. */
#define BEGIN() \
    NOTE(); \
    if (control == NULL || sessions == 0) return UNINITIALIZED; \
    if (control->driver_error) return (int)control->driver_error

static uint64_t now(void)
{
    struct timespec t;
    if (control->now_ns)
        return control->now_ns;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* 1 mW over 1 ns is 1 pJ. */
static uint64_t wave_pj(const volatile struct wave *w, uint64_t t)
{
    if (t <= w->from_ns)
        return 0;
    uint64_t e = (t < w->to_ns ? t : w->to_ns) - w->from_ns, h = w->half_ns;
    if (h == 0)
        return e * w->high_mw;
    uint64_t rest = e % (2 * h), high = rest < h ? rest : h;
    return e / (2 * h) * h * (w->high_mw + w->low_mw) + high * w->high_mw + (rest - high) * w->low_mw;
}

static uint64_t energy_pj(const volatile struct gpu *g, uint64_t t)
{
    uint64_t sum = 0;
    for (int n = 0; n < WAVES; n++)
        sum += wave_pj(&g->waves[n], t);
    return g->permille ? sum / 1000 * g->permille : sum;
}

static uint64_t counter_mj(const volatile struct gpu *g)
{
    uint64_t t = now();
    t -= g->step_ns ? t % g->step_ns : 0;
    if (g->raw_energy)
        return g->raw_energy;
    if (g->reset_at_ns && t >= g->reset_at_ns)
        return (energy_pj(g, t) - energy_pj(g, g->reset_at_ns)) / 1000000000u;
    return g->base_mj + energy_pj(g, t) / 1000000000u;
}

/* The mean over the last `over_ns`; what the counter misses, the power sensor sees. */
static uint64_t power_mw(const volatile struct gpu *g, uint64_t over_ns)
{
    uint64_t t = now(), sum = 0;
    if (g->raw_power)
        return g->raw_power;
    for (int n = 0; n < WAVES; n++)
        sum += wave_pj(&g->waves[n], t) - wave_pj(&g->waves[n], t - over_ns);
    return sum / over_ns;
}

/* A handle is a GPU's place plus one. A GPU that is not there has none. */
static int handle_of(uint64_t place, void **device)
{
    for (uint64_t n = 0; n < control->gpus && n < GPUS; n++) {
        if (control->order[n] != place)
            continue;
        if (control->gpu[place].errors[HANDLE])
            return (int)control->gpu[place].errors[HANDLE];
        *device = (void *)(uintptr_t)(place + 1);
        return SUCCESS;
    }
    return NOT_FOUND;
}

static volatile struct gpu *gpu_of(void *device)
{
    return &control->gpu[((uintptr_t)device - 1) % GPUS];
}

#define FAIL(device, call) if (gpu_of(device)->errors[call]) return (int)gpu_of(device)->errors[call]

int nvmlInit_v2(void)
{
    NOTE();
    if (control == NULL || control->init_error)
        return control == NULL ? 999 : (int)control->init_error;
    sessions++;
    return SUCCESS;
}

int nvmlShutdown(void)
{
    BEGIN();
    sessions--;
    return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    BEGIN();
    snprintf(version, length, "%s", (const char *)control->version);
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    BEGIN();
    *count = (unsigned)control->gpus;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    BEGIN();
    return index < control->gpus && index < GPUS ? handle_of(control->order[index], device) : INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, void **device)
{
    BEGIN();
    unsigned domain, bus;
    if (sscanf(bus_id, "%x:%x:00.0", &domain, &bus) != 2 || bus < 0x10)
        return INVALID_ARGUMENT;
    return handle_of(bus - 0x10, device);
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length)
{
    BEGIN();
    FAIL(device, UUID);
    snprintf(uuid, length, "GPU-fa4e0000-0000-4000-8000-%012x", (unsigned)(uintptr_t)device - 1);
    return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length)
{
    BEGIN();
    snprintf(name, length, gpu_of(device)->c2c_links ? "Made-up GH200" : "Made-up H200");
    return SUCCESS;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };

int nvmlDeviceGetPciInfo_v3(void *device, struct pci *pci)
{
    BEGIN();
    memset(pci, 0, sizeof *pci);
    pci->bus = 0x10 + (unsigned)(uintptr_t)device - 1;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimitConstraints(void *device, unsigned *least, unsigned *most)
{
    BEGIN();
    FAIL(device, LIMITS);
    *least = 200000;
    *most = (unsigned)gpu_of(device)->limit_mw;
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *limit)
{
    BEGIN();
    FAIL(device, LIMITS);
    *limit = (unsigned)gpu_of(device)->limit_mw;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending)
{
    BEGIN();
    FAIL(device, MIG);
    *current = *pending = (unsigned)gpu_of(device)->mig;
    return SUCCESS;
}

int nvmlDeviceGetPersistenceMode(void *device, unsigned *mode)
{
    BEGIN();
    FAIL(device, PERSISTENCE);
    *mode = (unsigned)gpu_of(device)->persistent;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *energy)
{
    BEGIN();
    FAIL(device, ENERGY_CALL);
    *energy = counter_mj(gpu_of(device));
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *power)
{
    BEGIN();
    FAIL(device, POWER_CALL);
    *power = (unsigned)power_mw(gpu_of(device), 1000000000u);
    return SUCCESS;
}

struct field { unsigned id, scope; long long timestamp, latency; unsigned type, result; uint64_t value; };

/* One field: its error, or its value with the type that NVML gives it. */
static void answer(volatile struct gpu *g, struct field *f)
{
    f->type = UNSIGNED_INT;
    f->result = NOT_SUPPORTED;
    if (f->scope == 1) {
        if (g->module_mw == 0 || g->c2c_links == 0)
            return;
        if (f->id == 185) {
            f->result = (unsigned)g->errors[MODULE_FIELD];
            f->value = g->module_mw;
        } else if (f->id == 188) {
            f->result = SUCCESS;
            f->value = 1000000;
        }
    } else if (f->scope == 0 && f->id == 83) {
        f->result = (unsigned)g->errors[ENERGY_FIELD];
        f->type = g->energy_type ? (unsigned)g->energy_type - 1 : UNSIGNED_LONG_LONG;
        f->value = counter_mj(g);
    } else if (f->scope == 0 && (f->id == 185 || f->id == 186)) {
        f->result = (unsigned)g->errors[f->id == 185 ? AVERAGE_FIELD : INSTANT_FIELD];
        f->type = g->power_type ? (unsigned)g->power_type - 1 : UNSIGNED_INT;
        f->value = power_mw(g, f->id == 185 ? 1000000000u : 1000000u);
        if (f->id == 186 && g->raw_instant)
            f->value = g->raw_instant;
    } else if (f->scope == 0 && f->id == 170) {
        f->result = SUCCESS;
        f->value = g->c2c_links;
    }
}

int nvmlDeviceGetFieldValues(void *device, int count, struct field *fields)
{
    BEGIN();
    volatile struct gpu *g = gpu_of(device);
    __atomic_fetch_add(&g->looks, 1, __ATOMIC_RELAXED);
    if (g->hang_ms) {
        struct timespec t = { (time_t)(g->hang_ms / 1000), (long)(g->hang_ms % 1000) * 1000000 };
        nanosleep(&t, NULL);
    }
    FAIL(device, FIELDS);
    for (int n = 0; n < count; n++)
        answer(g, &fields[n]);
    return SUCCESS;
}

/* What a meter has no business with. */
#define FORBIDDEN(name) int name(void) { NOTE(); return NOT_SUPPORTED; }

FORBIDDEN(nvmlInitWithFlags)
FORBIDDEN(nvmlDeviceSetPersistenceMode)
FORBIDDEN(nvmlDeviceSetPowerManagementLimit)
FORBIDDEN(nvmlDeviceSetPowerManagementLimit_v2)
FORBIDDEN(nvmlDeviceSetMigMode)
FORBIDDEN(nvmlDeviceSetComputeMode)
FORBIDDEN(nvmlDeviceSetAccountingMode)
FORBIDDEN(nvmlDeviceSetGpuLockedClocks)
FORBIDDEN(nvmlDeviceSetApplicationsClocks)
FORBIDDEN(nvmlDeviceClearFieldValues)
FORBIDDEN(nvmlDeviceClearEccErrorCounts)
FORBIDDEN(nvmlDeviceResetGpuLockedClocks)
FORBIDDEN(nvmlDeviceRemoveGpu_v2)
FORBIDDEN(nvmlDeviceDiscoverGpus)
FORBIDDEN(nvmlDeviceModifyDrainState)
FORBIDDEN(nvmlDeviceGetSamples)
FORBIDDEN(nvmlDeviceGetUtilizationRates)
FORBIDDEN(nvmlDeviceGetProcessUtilization)
FORBIDDEN(nvmlDeviceGetComputeRunningProcesses_v3)
FORBIDDEN(nvmlDeviceGetHandleByUUID)
FORBIDDEN(nvmlDeviceGetMigDeviceHandleByIndex)
FORBIDDEN(nvmlDeviceGetMaxMigDeviceCount)
FORBIDDEN(nvmlDeviceRegisterEvents)
FORBIDDEN(nvmlEventSetCreate)
FORBIDDEN(nvmlGpmSampleAlloc)
FORBIDDEN(nvmlGpmSampleGet)
FORBIDDEN(nvmlGpmSetStreamingEnabled)
FORBIDDEN(nvmlGpmMetricsGet)
