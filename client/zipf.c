#include "client/zipf.h"

#include <math.h>

/* log1p(x) / x and expm1(x) / x, continuous at 0, so that s = 1 needs no case of its own. */
static double log1p_over(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x / 2;
}

static double expm1_over(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x / 2;
}

/* An integral of the density x^-s, and its inverse. */
static double integral(double s, double x)
{
    double l = log(x);
    return expm1_over((1 - s) * l) * l;
}

static double integral_inverse(double s, double y)
{
    double t = y * (1 - s);
    return exp(log1p_over(t < -1 ? -1 : t) * y);
}

void hf_zipf_init(struct hf_zipf *zipf, uint64_t n, double s)
{
    *zipf = (struct hf_zipf){.n = n, .s = s};
    zipf->h_first = integral(s, 1.5) - 1;
    zipf->h_last = integral(s, (double)n + 0.5);
    zipf->squeeze = 2 - integral_inverse(s, integral(s, 2.5) - pow(2, -s));
}

uint64_t hf_zipf_next(const struct hf_zipf *zipf, struct hf_random *random)
{
    if (zipf->s <= 0 || zipf->n == 1)
        return 1 + hf_random_below(random, zipf->n);
    for (;;) {
        double u = zipf->h_last + hf_random_unit(random) * (zipf->h_first - zipf->h_last);
        double x = integral_inverse(zipf->s, u), k = floor(x + 0.5);
        k = k < 1 ? 1 : k > (double)zipf->n ? (double)zipf->n : k;
        if (k - x <= zipf->squeeze || u >= integral(zipf->s, k + 0.5) - pow(k, -zipf->s))
            return (uint64_t)k;
    }
}
